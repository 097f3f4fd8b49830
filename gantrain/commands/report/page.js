"use strict";
// Shows one of a run's grids at a time. Without this script the last one is shown.
for (const figure of document.querySelectorAll("[data-frames]")) {
  const images = [...figure.querySelectorAll(".stage img")];
  const slider = figure.querySelector("input");
  const label = figure.querySelector("output");
  const button = figure.querySelector("button");
  let timer = null;
  const show = (number) => {
    images.forEach((image, i) => { image.hidden = i !== number; });
    slider.value = String(number);
    label.textContent = images[number].dataset.label;
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    button.textContent = "Play";
  };
  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  button.addEventListener("click", () => {
    if (timer !== null) { stop(); return; }
    button.textContent = "Stop";
    let next = Number(slider.value) + 1 < images.length ? Number(slider.value) + 1 : 0;
    show(next);
    timer = setInterval(() => {
      next += 1;
      if (next >= images.length) { stop(); return; }
      show(next);
    }, 450);
  });
  figure.querySelector(".controls").hidden = false;
}
