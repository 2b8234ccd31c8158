// COCO's compressed run lengths, column by column, as schemas/rle.py reads them.

/** The string of a mask as a Uint8Array of height × width in rows. */
export function decode(counts, height, width) {
  const mask = new Uint8Array(height * width);
  if (counts === null) return mask;
  const runs = [];
  let at = 0;
  while (at < counts.length) {
    let value = 0, shift = 0, more = true;
    while (more) {
      const c = counts.charCodeAt(at++) - 48;
      value |= (c & 0x1f) << (5 * shift++);
      more = (c & 0x20) !== 0;
      if (!more && c & 0x10) value |= -1 << (5 * shift);
    }
    if (runs.length > 2) value += runs[runs.length - 2];
    runs.push(value);
  }
  let place = 0;
  runs.forEach((run, n) => {
    if (n % 2)
      for (let i = place; i < place + run; i++) mask[(i % height) * width + Math.floor(i / height)] = 1;
    place += run;
  });
  return mask;
}

/** The string of a mask; null where it is empty. */
export function encode(mask, height, width) {
  const runs = [];
  let value = 0, run = 0;
  for (let x = 0; x < width; x++)
    for (let y = 0; y < height; y++) {
      if (mask[y * width + x] !== value) {
        runs.push(run);
        run = 0;
        value ^= 1;
      }
      run++;
    }
  runs.push(run);
  if (runs.length === 1) return null;
  let text = "";
  runs.forEach((length, n) => {
    let x = n > 2 ? length - runs[n - 2] : length, more = true;
    while (more) {
      let c = x & 0x1f;
      x >>= 5;
      more = c & 0x10 ? x !== -1 : x !== 0;
      if (more) c |= 0x20;
      text += String.fromCharCode(c + 48);
    }
  });
  return text;
}
