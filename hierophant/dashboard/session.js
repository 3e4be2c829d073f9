// The session: signing in with a token, where one is required, and signing out.

import { html, useState } from './vendor/preact.js';
import { act, remove } from './api.js';
import { enter, known, leave } from './live.js';

/** Whether the user may send commands. */
export const mayAct = () => known.session?.role === 'act';

/** The form to sign in with a token. */
export function SignIn() {
  const [token, setToken] = useState('');
  const [fault, setFault] = useState(null);
  const [busy, setBusy] = useState(false);
  const go = async (event) => {
    event.preventDefault();
    setBusy(true);
    setFault(null);
    try {
      await act('/session', { token: token.trim() });
      enter();
    } catch (error) {
      setFault(error.message);
      setBusy(false);
    }
  };
  return html`
    <main id="main" class="signin">
      <section aria-labelledby="h-signin">
        <h1 id="h-signin"><img src="/dashboard/icon.svg" alt="" width="28" height="28" /> Hierophant</h1>
        <form onSubmit=${go}>
          <label>Token<input type="password" autocomplete="current-password" required autofocus spellcheck=${false}
            value=${token} onInput=${(event) => setToken(event.target.value)} /></label>
          ${fault && html`<p class="note bad" role="alert">${fault}</p>`}
          <button class="primary" disabled=${busy}>Sign in</button>
        </form>
        <p class="dim">Create a token on Hierophant's machine:</p>
        <pre>hierophant token create --name NAME --role read</pre>
        <p class="dim">A token with <code>--role act</code> may also send commands. A session lasts at most 12 hours.</p>
      </section>
    </main>`;
}

/** The identity of the user, and the button to sign out. */
export function Who() {
  const [fault, setFault] = useState(null);
  const { session } = known;
  if (session === null) return null;
  const go = async () => {
    try {
      await remove('/session');
      leave();
    } catch (error) {
      setFault(error.message);
    }
  };
  const may = session.role === 'act' ? 'may read and send commands' : 'may only read';
  return html`
    <span class="who" title=${`${session.name} ${may}`}>${session.name}${session.role === 'read' && html` <span class="badge plain">read only</span>`}</span>
    ${session.session && html`<button class="small" title=${fault} onClick=${go}>${fault ? 'Sign out: try again' : 'Sign out'}</button>`}`;
}
