/** The token of this tab: in memory, and in the tab's own storage only when its owner wants that. Never in an address. */
const KEY = 'lockgate-token';

/** The token that this tab remembers; null without one, or where the browser keeps nothing. */
export function rememberedToken(): string | null {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

/** Remembers the token for this tab, or forgets it (null). */
export function rememberToken(token: string | null): void {
  try {
    if (token === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, token);
  } catch {
    // Then it is asked for again after the next load.
  }
}

/** Light, dark, or as the system has it. */
export type Theme = 'auto' | 'light' | 'dark';

const THEME = 'lockgate-theme';

/** The look that was chosen in this browser. */
export function rememberedTheme(): Theme {
  try {
    const found = localStorage.getItem(THEME);
    return found === 'light' || found === 'dark' ? found : 'auto';
  } catch {
    return 'auto';
  }
}

/** Takes up a look and remembers it in this browser. */
export function applyTheme(theme: Theme): void {
  const { dataset } = document.documentElement;
  if (theme === 'auto') delete dataset['theme'];
  else dataset['theme'] = theme;
  try {
    localStorage.setItem(THEME, theme);
  } catch {
    // Then it lasts until the next load.
  }
}
