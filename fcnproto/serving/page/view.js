// The image with its classes over it: tint, contours, the pixel under the pointer.

const BLACK = (colour) => !colour[0] && !colour[1] && !colour[2];

// Run lengths, row by row, to a label for each pixel.
export const unrolled = (runs, size) => {
  const labels = new Uint16Array(size);
  let at = 0;
  for (let index = 0; index < runs.length; index += 2) {
    labels.fill(runs[index], at, at + runs[index + 1]);
    at += runs[index + 1];
  }
  return labels;
};

const layer = (width, height, paint) => {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d");
  const pixels = pen.createImageData(width, height);
  paint(new Uint32Array(pixels.data.buffer));
  pen.putImageData(pixels, 0, 0);
  return canvas;
};

const packed = ([red, green, blue]) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;

export class View {
  constructor(canvas, colour) {
    this.canvas = canvas;
    this.colour = colour;
    this.cursor = null;
  }

  // The layers of an image's label map, made again only when what they show has changed.
  show(picture, labels, hidden) {
    Object.assign(this, { picture, labels });
    const { width, height } = picture;
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    this.canvas.style.setProperty("--aspect", width / height);
    this.canvas.classList.toggle("large", width < 400);
    this.tint = this.edges = null;
    if (!labels) return;
    this.tint = layer(width, height, (out) => {
      const table = new Map();
      for (let at = 0; at < labels.length; at += 1) {
        const label = labels[at];
        if (!table.has(label)) {
          const colour = this.colour(label);
          table.set(label, hidden.has(label) || BLACK(colour) ? 0 : packed(colour));
        }
        out[at] = table.get(label);
      }
    });
    const seen = (at) => (hidden.has(labels[at]) ? -1 : labels[at]);
    this.edges = layer(width, height, (out) => {
      const white = packed([255, 255, 255]);
      const black = packed([0, 0, 0]);
      for (let y = 0, at = 0; y < height; y += 1) {
        for (let x = 0; x < width; x += 1, at += 1) {
          const own = seen(at);
          if ((x + 1 < width && own !== seen(at + 1)) || (y + 1 < height && own !== seen(at + width))) out[at] = white;
          else if ((x && own !== seen(at - 1)) || (y && own !== seen(at - width))) out[at] = black;
        }
      }
    });
  }

  draw(strength, contours, cursor = true) {
    const pen = this.canvas.getContext("2d");
    pen.globalAlpha = 1;
    pen.drawImage(this.picture, 0, 0);
    if (this.tint) {
      pen.globalAlpha = strength;
      pen.drawImage(this.tint, 0, 0);
      pen.globalAlpha = 1;
      if (contours) pen.drawImage(this.edges, 0, 0);
    }
    if (!cursor || !this.cursor) return;
    const { x, y } = this.cursor;
    const arm = Math.max(4, Math.round(Math.max(this.canvas.width, this.canvas.height) / 60));
    for (const [style, wide] of [["#000", 3], ["#fff", 1]]) {
      pen.strokeStyle = style;
      pen.lineWidth = wide;
      pen.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        pen.moveTo(x + 0.5 + dx * 2, y + 0.5 + dy * 2);
        pen.lineTo(x + 0.5 + dx * arm, y + 0.5 + dy * arm);
      }
      pen.stroke();
    }
  }

  // The pixel under a pointer, or null beside the image.
  pixel(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * this.canvas.width);
    const y = Math.floor(((event.clientY - box.top) / box.height) * this.canvas.height);
    return x >= 0 && y >= 0 && x < this.canvas.width && y < this.canvas.height ? { x, y } : null;
  }

  label({ x, y }) {
    return this.labels ? this.labels[y * this.canvas.width + x] : null;
  }
}
