/**
 * `EventTarget` with the names and details of its events in the type. Nothing else: at run time it is an `EventTarget`.
 */

/**
 * @template {object} Events
 * @typedef {{
 *   addEventListener<Name extends keyof Events & string>(
 *     name: Name, listener: (event: CustomEvent<Events[Name]>) => void, options?: AddEventListenerOptions | boolean): void,
 *   removeEventListener<Name extends keyof Events & string>(
 *     name: Name, listener: (event: CustomEvent<Events[Name]>) => void, options?: EventListenerOptions | boolean): void,
 *   dispatchEvent(event: Event): boolean,
 * }} TypedEvents
 */

/**
 * The base class for a class with these events.
 * @template {object} Events
 * @returns {new () => TypedEvents<Events>}
 */
export function typedEvents() {
  return /** @type {new () => TypedEvents<Events>} */ (/** @type {unknown} */ (EventTarget));
}
