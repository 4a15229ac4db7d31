// What is chosen on the page stands in its address: it can be handed on, and is there again on the way back.

/** What the address says of a name; null where it says nothing. */
export const inAddress = (name) => new URLSearchParams(location.search).get(name);

/** Puts values into the address, and takes out those that are null. */
export function putIntoAddress(values) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(values)) value == null ? query.delete(name) : query.set(name, value);
  history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}${location.hash}`);
}

/** Keeps a select's choice in the address, by its id, and takes over the one that is there. */
export function keepChoice(select) {
  const usual = select.value;
  const wanted = inAddress(select.id);
  if ([...select.options].some((option) => option.value === wanted)) select.value = wanted;
  select.addEventListener("change", () => putIntoAddress({ [select.id]: select.value === usual ? null : select.value }));
}
