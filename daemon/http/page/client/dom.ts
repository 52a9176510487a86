/**
 * A page as a function of what is known: `h` describes elements, `patch` changes the document to fit, and touches nothing
 * that fits already, so that focus, selection and open dialogs stay. Text only ever becomes text.
 */

/** Attributes, and what is set in another way: handlers (`on…`), `style` (properties by name), `mount`, `key`. */
export type Props = Readonly<Record<string, Value>>;
type Value = string | number | boolean | null | undefined | Handler | Mount | Readonly<Record<string, string>>;
type Handler = (event: Event) => void;
/** Called with the element once it is made. */
type Mount = (element: Element) => void;

/** An element to be, a text, or nothing. */
export type Child = Node_ | string | number | null | false | undefined;

/** An element to be. */
export interface Node_ {
  readonly tag: string;
  readonly props: Props;
  readonly children: readonly Child[];
}

const SVG = 'http://www.w3.org/2000/svg';
const SVG_TAGS = new Set(['svg', 'path', 'circle', 'rect', 'line', 'g']);

/** What an element was last made from, so that only what differs is touched. */
const made = new WeakMap<Element, Node_>();
const listening = new WeakMap<Element, Map<string, Handler>>();

/**
 * Describes an element; the property `key` tells siblings apart, `mount` is called once with the element when it is made and
 * then owns its content.
 */
export function h(tag: string, props: Props = {}, ...children: readonly (Child | readonly Child[])[]): Node_ {
  const flat: Child[] = [];
  for (const child of children) {
    if (isList(child)) flat.push(...child);
    else flat.push(child);
  }
  return { tag, props, children: flat };
}

function isList(child: Child | readonly Child[]): child is readonly Child[] {
  return Array.isArray(child);
}

/** Makes the children of an element what they are to be. */
export function patch(parent: Element, children: readonly Child[]): void {
  const wanted = children.filter(
    (c): c is Node_ | string | number => c !== null && c !== false && c !== undefined && c !== '',
  );
  const keyed = new Map<string, Element>();
  for (const element of parent.children) {
    const key = made.get(element)?.props['key'];
    if (typeof key === 'string') keyed.set(key, element);
  }
  let at: ChildNode | null = parent.firstChild;
  for (const child of wanted) {
    if (typeof child !== 'object') {
      const text = String(child);
      if (at?.nodeType === Node.TEXT_NODE) {
        if (at.nodeValue !== text) at.nodeValue = text;
        at = at.nextSibling;
      } else parent.insertBefore(document.createTextNode(text), at);
      continue;
    }
    const key = child.props['key'];
    const old: ChildNode | null = typeof key === 'string' ? (keyed.get(key) ?? null) : at;
    if (old instanceof Element && fits(old, child)) {
      if (old === at) at = at.nextSibling;
      else parent.insertBefore(old, at);
      update(old, child);
    } else parent.insertBefore(create(child), at);
  }
  while (at !== null) {
    const next: ChildNode | null = at.nextSibling;
    at.remove();
    at = next;
  }
}

function fits(element: Element, node: Node_): boolean {
  const before = made.get(element);
  return before?.tag === node.tag && before.props['key'] === node.props['key'];
}

function create(node: Node_): Element {
  const element = SVG_TAGS.has(node.tag) ? document.createElementNS(SVG, node.tag) : document.createElement(node.tag);
  update(element, node);
  const mount = node.props['mount'];
  if (typeof mount === 'function') (mount as Mount)(element);
  return element;
}

function update(element: Element, node: Node_): void {
  const before = made.get(element)?.props ?? {};
  made.set(element, node);
  for (const name of new Set([...Object.keys(before), ...Object.keys(node.props)])) {
    if (name !== 'key' && name !== 'mount') set(element, name, before[name], node.props[name]);
  }
  // What is mounted belongs to whoever mounted it.
  if (node.props['mount'] === undefined) patch(element, node.children);
}

function set(element: Element, name: string, before: Value, after: Value): void {
  if (name.startsWith('on')) {
    listen(element, name.slice(2), typeof after === 'function' ? (after as Handler) : null);
    return;
  }
  if (name === 'style') {
    for (const [property, value] of Object.entries(typeof after === 'object' && after !== null ? after : {})) {
      const { style } = element as HTMLElement;
      if (style.getPropertyValue(property) !== value) style.setProperty(property, value);
    }
    return;
  }
  if (before === after) return;
  if (after === null || after === undefined || after === false) element.removeAttribute(name);
  else if (typeof after !== 'function' && typeof after !== 'object') {
    element.setAttribute(name, after === true ? '' : String(after));
  }
}

/** One listener an element and event, which calls the newest handler. */
function listen(element: Element, event: string, handler: Handler | null): void {
  const handlers = listening.get(element) ?? new Map<string, Handler>();
  listening.set(element, handlers);
  const known = handlers.has(event);
  if (handler === null) {
    handlers.delete(event);
    return;
  }
  handlers.set(event, handler);
  if (!known) element.addEventListener(event, (e) => listening.get(element)?.get(event)?.(e));
}
