"""What an import asks of a foreign mp4, in a child process with limits (tasks/ingest/sandbox.py)."""

import io

import av

from schemas import MediaFacts


def probe(mp4: bytes) -> bytes:
    """`MediaFacts` as JSON; empty where it is no video of one size that decodes to its end."""
    frames, sizes = 0, set()
    try:
        with av.open(io.BytesIO(mp4), "r", format="mp4") as container:
            stream = container.streams.video[0]
            for frame in container.decode(stream):
                frames += 1
                sizes.add((frame.width, frame.height))
            rate = float(stream.average_rate or 0)
            if len(sizes) != 1 or not rate:
                return b""
            ((width, height),) = sizes
            facts = MediaFacts(
                container=container.format.name, codec=stream.codec_context.name, pixel_format=str(stream.pix_fmt),
                width=width, height=height, rotation=0, fps=rate, duration_s=frames / rate, frames=frames,
                has_audio=bool(container.streams.audio),
            )  # fmt: skip
    except (av.FFmpegError, IndexError, ValueError):
        return b""
    return facts.model_dump_json().encode()
