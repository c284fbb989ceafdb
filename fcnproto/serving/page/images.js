// Files to what is shown and what is sent: within the server's limits of pixels and bytes.

const encoded = (canvas, type) => new Promise((done, failed) => {
  canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("The image cannot be made smaller."))), type, 0.92);
});

const drawn = (bitmap, width, height) => {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#fff"; // what is transparent is seen on white, as the model sees it
  pen.fillRect(0, 0, width, height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, width, height);
  return canvas;
};

// { picture: canvas, blob: what is sent, note: in words, what was done to it }
export const prepared = async (file, limits) => {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error("This browser cannot read it as an image: try PNG, JPEG or WebP.");
  }
  const { width, height } = bitmap;
  const factor = Math.min(1, Math.sqrt(limits.pixels / (width * height)));
  const columns = Math.max(1, Math.floor(width * factor));
  const rows = Math.max(1, Math.floor(height * factor));
  const picture = drawn(bitmap, columns, rows);
  bitmap.close();
  if (factor < 1) {
    return { picture, blob: await encoded(picture, "image/jpeg"), note: `scaled from ${width} × ${height} pixels, which are more than the server takes` };
  }
  if (file.size > limits.bytes) {
    return { picture, blob: await encoded(picture, "image/jpeg"), note: "sent as a JPEG, for the file is larger than the server takes" };
  }
  return { picture, blob: file, note: "" };
};
