"use strict";
// Shows the test images behind a cell of a confusion matrix. Names come from the data: they are only ever set as text.
(() => {
  const data = JSON.parse(document.getElementById("gallery-data").textContent);
  const thumbs = new Map(Object.entries(data.thumbs));

  // A picture that stands in the page is not repeated in the data; one that is shown twice stands there once.
  for (const img of document.querySelectorAll("img[data-image][src]")) thumbs.set(img.dataset.image, img.src);
  for (const img of document.querySelectorAll("img[data-image]:not([src])")) {
    if (thumbs.has(img.dataset.image)) img.src = thumbs.get(img.dataset.image);
  }

  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  const percent = (p) => {
    if (p === null) return "\u2013";
    if (p > 0.9995 && p < 1) return ">\u00a099.9\u00a0%";
    if (p > 0 && p < 0.0005) return "<\u00a00.1\u00a0%";
    return (p * 100).toFixed(1) + "\u00a0%";
  };

  const labelled = (tag, name, p) => {
    const line = element("div");
    line.append(element("span", "tag", tag + " "), element("bdi", "name", name));
    if (p !== undefined) line.append(" ", element("span", "p", percent(p)));
    return line;
  };

  const picture = (model, place) => {
    const [id, path] = data.images[place];
    const wrong = model.true[place] !== model.pred[place];
    const item = element("li");
    item.dataset.image = id;
    let thumb;
    if (thumbs.has(id)) {
      thumb = element("div", "thumb");
      const img = element("img");
      img.src = thumbs.get(id);
      img.alt = "";
      thumb.append(img);
    } else {
      thumb = element("div", "thumb gone", "file not readable");
    }
    item.append(
      thumb,
      labelled("true", data.classes[model.true[place]], wrong ? model.p_true[place] : undefined),
      labelled("predicted", data.classes[model.pred[place]], model.p_pred[place]),
      element("div", "path", path),
    );
    return item;
  };

  const show = (button) => {
    const matrix = button.closest("table");
    const gallery = document.getElementById(matrix.dataset.gallery);
    const model = data.models[matrix.dataset.model];
    const shown = new Set(JSON.parse(matrix.dataset.shown));
    const fits = (place, wanted) => (wanted === -1 ? place !== -1 && !shown.has(place) : place === wanted);
    const [row, column] = [Number(button.dataset.true), Number(button.dataset.pred)];
    const places = data.images
      .map((_, place) => place)
      .filter((place) => fits(model.true[place], row) && fits(model.pred[place], column))
      .sort((a, b) => model.p_pred[b] - model.p_pred[a]);
    const name = (place) => (place === -1 ? "all others" : data.classes[place]);
    const total = Number(button.dataset.count);
    const count = places.length < total ? `${places.length} of ${total} shown` : total === 1 ? "1 image" : `${total} images`;

    for (const other of matrix.querySelectorAll("button")) other.setAttribute("aria-expanded", "false");
    button.setAttribute("aria-expanded", "true");

    const head = element("header");
    const title = element("h4", "", `True ${name(row)}, predicted ${name(column)}: ${count}`);
    title.tabIndex = -1;
    const close = element("button", "close screen", "Close");
    close.type = "button";
    close.addEventListener("click", () => {
      gallery.hidden = true;
      gallery.replaceChildren();
      button.setAttribute("aria-expanded", "false");
      button.focus();
    });
    head.append(title, close);
    const list = element("ul", "pictures");
    list.append(...places.map((place) => picture(model, place)));
    gallery.replaceChildren(head, list);
    gallery.hidden = false;
    gallery.scrollIntoView({ block: "nearest" });
  };

  for (const button of document.querySelectorAll("button[data-count]")) button.setAttribute("aria-expanded", "false");
  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest("button[data-count]") : null;
    if (button) show(button);
  });

  // A box that is wider or taller than its room says so by a shadow at that edge.
  for (const frame of document.querySelectorAll(".frame")) {
    const box = frame.querySelector(".scroll");
    const mark = () => {
      frame.classList.toggle("more-left", box.scrollLeft > 0);
      frame.classList.toggle("more-right", box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
      frame.classList.toggle("more-below", box.scrollTop + box.clientHeight < box.scrollHeight - 1);
    };
    box.addEventListener("scroll", mark, { passive: true });
    const observer = new ResizeObserver(mark);
    for (const sized of [box, box.firstElementChild]) observer.observe(sized);
  }

  // Paper cannot be opened: what is folded is unfolded for printing.
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open]):not(.more)")];
    for (const details of opened) details.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
  });
})();
