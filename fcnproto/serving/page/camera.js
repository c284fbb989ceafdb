// A photo from the camera, as a file.

export const camera = (box, video, shoot, close, taken, failed) => {
  let stream = null;
  box.addEventListener("close", () => {
    stream?.getTracks().forEach((track) => track.stop());
    stream = video.srcObject = null;
  });
  close.addEventListener("click", () => box.close());
  shoot.addEventListener("click", () => {
    if (!video.videoWidth) return;
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => {
      box.close();
      taken(new File([blob], "photo.png", { type: "image/png" }));
    }, "image/png");
  });
  return async () => {
    if (!navigator.mediaDevices?.getUserMedia) {
      failed("A browser gives the camera only to pages of this machine, or over HTTPS.");
      return;
    }
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch (error) {
      failed(error.name === "NotFoundError" ? "There is no camera." : "The camera may not be used: the browser's settings allow it.");
      return;
    }
    video.srcObject = stream;
    box.showModal();
  };
};
