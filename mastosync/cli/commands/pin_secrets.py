"""`mastosync pin-secrets`."""

from __future__ import annotations

import click

from mastosync.cli.invocation import Invocation
from mastosync.language import tr


@click.command(name="pin-secrets")
@click.pass_obj
def pin_secrets_command(invocation: Invocation) -> None:
    """Copy the secrets that the configuration takes from Mastodon's .env.production into a file of its own.

    Run it before Mastodon is switched over. The switch writes the keys of the new store into .env.production; without
    a copy, mastosync would lose the keys of the old store. The new file lies beside the configuration, and only its
    owner may read it. The configuration then names it as [env] file. .env.production is not changed.
    """
    from mastosync.app.files import is_pinned, pin

    config = invocation.config
    if is_pinned(config):
        invocation.say(tr("the secrets are pinned already, in {file}", file=config.env.file))
    elif not config.referred:
        invocation.say(tr("there is nothing to pin: the configuration takes no secret from a file of variables"))
    else:
        file = pin(config, invocation.environ)
        invocation.say(
            tr(
                "copied the secrets to {file}. From now on {config} takes them from there, and"
                " {mastodon} may be changed",
                file=file,
                config=config.path,
                mastodon=config.env.settings,
            )
        )
