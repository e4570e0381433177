"""Drops what Gradio keeps of sessions that nobody needs.

That is half a megabyte a session, the settings of every component, of the last 10,000 sessions: 5 GB. Who calls the API
without a connection, as curl does, is a new session in each call, and so is each visit of the page.
"""

from __future__ import annotations

from datetime import datetime

from gradio.state_holder import StateHolder

IDLE_SECONDS = 10.0


def forget_idle_sessions(holder: StateHolder) -> None:
    """From now on drop the sessions without a `gr.State` that nobody used for `IDLE_SECONDS`, whenever Gradio looks for
    states that have expired: each second, in the thread of its event loop, where nothing else can be in between. Who
    comes back gets a new one, which is the same."""
    delete_expired = holder.delete_all_expired_state

    def delete_and_forget() -> None:
        delete_expired()
        now = datetime.now()
        for name, used in list(holder.time_last_used.items()):
            state = holder.session_data.get(name)
            is_needed = state is not None and state.state_data
            if not is_needed and (now - used).total_seconds() > IDLE_SECONDS:
                holder.session_data.pop(name, None)
                holder.time_last_used.pop(name, None)

    holder.delete_all_expired_state = delete_and_forget  # type: ignore[method-assign]
