// The two ways in which this page makes elements. Text goes in as text: nothing that the server
// sends is ever parsed as HTML.

/** element("p", { class: "quiet", text: "…", role: "status" }, child, child) */
export function element(tag, { text, ...attributes } = {}, ...children) {
  return filled(document.createElement(tag), text, attributes, children);
}

/** The same for a drawing. */
export function drawn(tag, { text, ...attributes } = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), text, attributes, children);
}

/** Sets the text only where it differs: untouched text keeps the reader's selection and its place. */
export function setText(node, text) {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}

function filled(node, text, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) {
      node.setAttribute(name, value === true ? "" : value);
    }
  }
  if (text !== undefined) {
    node.textContent = text;
  }
  node.append(...children);
  return node;
}
