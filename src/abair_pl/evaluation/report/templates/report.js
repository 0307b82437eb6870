"use strict";
for (const slide of document.querySelectorAll(".slide")) {
  const stage = slide.querySelector(".stage");
  const range = stage.querySelector("input");
  const images = stage.querySelectorAll(".after");
  const buttons = slide.querySelectorAll("button");
  const split = () => {
    stage.style.setProperty("--split", `${range.value}%`);
    range.setAttribute("aria-valuetext", `${range.value} % input`);
  };
  const choose = (chosen) => {
    images.forEach((image, index) => { image.hidden = index !== chosen; });
    buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(index === chosen)));
    slide.dataset.shown = buttons[chosen].firstChild.textContent.trim();
  };
  range.addEventListener("input", split);
  buttons.forEach((button, index) => button.addEventListener("click", () => choose(index)));
  split();
  choose([...buttons].findIndex((button) => button.getAttribute("aria-pressed") === "true"));
  slide.dataset.ready = "true";
}
