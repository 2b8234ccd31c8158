"""Is a file a video? By its ending where that tells, else by its first bytes."""

VIDEOS = (
    ".mp4", ".m4v", ".mov", ".qt", ".mkv", ".mk3d", ".webm", ".avi", ".divx", ".mpg", ".mpeg", ".mpe", ".m1v", ".m2v",
    ".mpv", ".vob", ".ts", ".tp", ".trp", ".m2t", ".m2ts", ".mts", ".wmv", ".asf", ".flv", ".f4v", ".ogv", ".ogm",
    ".3gp", ".3g2", ".mxf", ".gif", ".nut", ".dv", ".dif", ".ivf", ".y4m", ".h264", ".264", ".hevc", ".h265", ".265",
)  # fmt: skip
"""Endings of videos."""

OTHERS = (
    # tables, text and settings
    ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".arrow", ".feather", ".xls", ".xlsx", ".ods", ".txt",
    ".md", ".rst", ".log", ".pdf", ".doc", ".docx", ".htm", ".html", ".css", ".xml", ".yml", ".yaml", ".toml", ".ini",
    ".cfg", ".conf", ".nfo", ".url",
    # subtitles
    ".srt", ".vtt", ".ass", ".ssa", ".sub", ".sbv", ".lrc",
    # images
    ".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".svg", ".ico",
    ".exr", ".psd", ".dng", ".raw", ".cr2", ".nef", ".arw",
    # audio
    ".mp3", ".m4a", ".aac", ".wav", ".flac", ".ogg", ".oga", ".opus", ".wma", ".aif", ".aiff", ".mid",
    # archives and sums
    ".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".md5", ".sha1", ".sha256", ".torrent",
    # programs, models and arrays
    ".py", ".sh", ".js", ".ipynb", ".exe", ".dll", ".so", ".db", ".sqlite", ".npy", ".npz", ".pkl", ".pt", ".pth",
    ".ckpt", ".safetensors", ".onnx", ".h5", ".hdf5", ".lock",
)  # fmt: skip
"""Endings of what lies beside videos and is plainly none."""

HEAD = 1024
"""First bytes that `starts_like_a_video` wants to see."""

_STARTS = (
    b"\x1a\x45\xdf\xa3", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b"FLV\x01", b"OggS", b"GIF87a", b"GIF89a", b"DKIF",
    b"YUV4MPEG2", b"nut/multimedia container", b"\x06\x0e\x2b\x34\x02\x05\x01\x01",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
)  # fmt: skip
"""Matroska and WebM, MPEG-PS and -ES, FLV, Ogg, GIF, IVF, YUV4MPEG, NUT, MXF, ASF."""

_ATOMS = {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"wide", b"free", b"skip", b"pnot"}
"""What an mp4 or QuickTime file may begin with, after four bytes of length."""

_NO_VIDEO_BRANDS = (b"M4A", b"M4B", b"hei", b"hev", b"mif1", b"avif", b"crx")
"""Brands of audio and images in mp4's container."""

_PACKETS = ((188, 0), (192, 4), (204, 0))
"""Packet lengths of transport streams, and where the mark 0x47 lies in each."""


def starts_like_a_video(head: bytes) -> bool:
    """Whether the first `HEAD` bytes are those of a container for videos. What is in it, ingest finds out."""
    if head[4:8] in _ATOMS:
        return head[4:8] != b"ftyp" or not head[8:12].startswith(_NO_VIDEO_BRANDS)
    if head[:4] == b"RIFF":
        return head[8:12] == b"AVI "
    marks = (head[at::length][: HEAD // length] for length, at in _PACKETS)
    return head.startswith(_STARTS) or any(len(m) > 2 and set(m) == {0x47} for m in marks)
