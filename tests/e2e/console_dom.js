// A tiny document for the console's script: enough of one to see what it makes of a status. It is no browser: what
// would be markup in one stays visible here, because only text nodes are ever made.
// Usage: node console_dom.js CONSOLE_JS INDEX_HTML STATUS EVENTS MACHINE, each a file; prints what the page shows.
'use strict';
const fs = require('fs'), vm = require('vm');
const [script, page, status, events, machine] = process.argv.slice(2).map(path => fs.readFileSync(path, 'utf8'));

class Node {
  constructor(name) { Object.assign(this, { name, children: [], hidden: false, className: '', listeners: {} }); }
  set textContent(text) { this.children = [String(text)]; }
  get textContent() { return this.children.map(child => typeof child === 'string' ? child : child.textContent).join(' '); }
  append(...children) { this.children.push(...children.map(child => child instanceof Node ? child : String(child))); }
  replaceChildren(...children) { this.children = []; this.append(...children); }
  addEventListener(event, listener) { this.listeners[event] = listener; }
  find(name) { return this.children.flatMap(child => child instanceof Node ? [...(child.name === name ? [child] : []), ...child.find(name)] : []); }
}
for (const property of ['innerHTML', 'outerHTML', 'insertAdjacentHTML']) {
  Object.defineProperty(Node.prototype, property, { set() { throw new Error('markup from text'); }, get() { throw new Error('markup from text'); } });
}

const nodes = {};
for (const [, id] of page.matchAll(/ id="([a-z-]+)"/g)) nodes[id] = new Node(id);
const answers = { 'v1/status': status, 'v1/events': events };
const asked = [];
const world = {
  document: {
    getElementById(id) { if (!nodes[id]) throw new Error(`the page has no ${id}`); return nodes[id]; },
    createElement: name => new Node(name),
  },
  fetch: async path => {
    asked.push(path);
    const text = answers[path] ?? (path.startsWith('v1/machines/') ? machine : undefined);
    if (text === undefined) throw new Error(`asked for ${path}`);
    return { ok: true, json: async () => JSON.parse(text) };
  },
  setTimeout() {},  // One round.
  console,
};
vm.runInNewContext(script, world);

async function settled() { for (let i = 0; i < 100; i += 1) await null; }
async function main() {
  await settled();
  const button = nodes.machines.find('button')[0];
  if (button) button.listeners.click();
  await settled();
  for (const [id, node] of Object.entries(nodes)) if (!node.hidden) console.log(`${id}: ${node.textContent}`);
  console.log(`asked: ${asked.join(' ')}`);
}
main();
