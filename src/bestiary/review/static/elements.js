// Elements with text. Names and paths come from the data: nothing here reads a string as HTML.

export const byId = (id) => document.getElementById(id);

export function element(tag, className, ...content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...content.filter((part) => part !== "" && part !== undefined && part !== null));
  return made;
}

export function button(words, key, onPress, className = "") {
  const made = element("button", className, words, " ", key ? element("kbd", "", key) : "");
  made.type = "button";
  made.addEventListener("click", onPress);
  return made;
}

export function percent(p) {
  if (p === null) return "\u2013";
  if (p > 0.995 && p < 1) return ">\u00a099\u00a0%";
  if (p > 0 && p < 0.005) return "<\u00a01\u00a0%";
  return `${Math.round(p * 100)}\u00a0%`;
}
