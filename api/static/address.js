// What is chosen on the page stands in its address: it can be handed on, and is there again on the way back.

/** What the address says of a name; null where it says nothing. */
export const inAddress = (name) => new URLSearchParams(location.search).get(name);

/** Puts values into the address, and takes out those that are null. A `step` is one that the browser's back undoes. */
export function putIntoAddress(values, { step = false } = {}) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(values)) value == null ? query.delete(name) : query.set(name, value);
  const address = `${location.pathname}${query.size ? `?${query}` : ""}${location.hash}`;
  if (step && address !== `${location.pathname}${location.search}${location.hash}`) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
}

/** Calls back when the browser goes back or forward between the steps of this page. */
export const onStep = (follow) => addEventListener("popstate", follow);

/** Keeps a select's choice in the address, by its id, and takes over the one that is there. */
export function keepChoice(select) {
  const usual = select.value;
  const wanted = inAddress(select.id);
  if ([...select.options].some((option) => option.value === wanted)) select.value = wanted;
  const put = () => putIntoAddress({ [select.id]: select.value === usual ? null : select.value });
  select.addEventListener("change", put);
  onStep(put); // the steps are those of the table: a figure stays as it was chosen
}
