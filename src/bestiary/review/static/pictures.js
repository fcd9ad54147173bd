// Pictures on demand: asked for once, kept as elements, the oldest let go.

const KEPT = 160;
const kept = new Map();

const address = (image, size) => `picture/${size}/${encodeURIComponent(image.id)}`;

export function picture(image, size) {
  const src = address(image, size);
  let img = kept.get(src);
  if (img) kept.delete(src);
  else {
    img = new Image();
    img.decoding = "async";
    img.alt = "";
    img.src = src;
  }
  kept.set(src, img);
  for (const [old, element] of kept) {
    if (kept.size <= KEPT) break;
    if (!element.isConnected) kept.delete(old);
  }
  return img;
}

// Put a picture into a box; where it cannot be read, the reason instead.
export function fill(box, image, size) {
  const img = picture(image, size);
  const gone = async () => {
    kept.delete(address(image, size));
    const reason = await whyNot(address(image, size));
    if (img.parentNode !== box) return;
    placeholder(box, reason);
  };
  img.onerror = gone;
  box.replaceChildren(img);
  box.classList.remove("gone");
  if (img.complete && img.naturalWidth === 0) gone();
  return img;
}

export function placeholder(box, reason) {
  const words = document.createElement("span");
  words.textContent = reason;
  box.replaceChildren(words);
  box.classList.add("gone");
}

async function whyNot(src) {
  try {
    const answer = await fetch(src);
    return answer.ok ? "The browser cannot show it." : await answer.text();
  } catch {
    return "The review server does not answer.";
  }
}
