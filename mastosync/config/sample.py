"""The sample configuration, written from the declarations in `schema`: it cannot miss or misname a key.

Its comments are in the user's language; sections, keys and values are the same in every language.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mastosync.config.schema import sections
from mastosync.config.values import CHANGE_ME, Key, Section
from mastosync.errors import ConfigError
from mastosync.language import deferred, say, tr
from mastosync.terminal_text import wrapped

_WIDTH = 100  # columns

_HEAD = (
    deferred("Configuration of mastosync."),
    "",
    deferred("Save this as config.ini, replace every {placeholder}, then run `mastosync doctor`."),
    "",
    deferred(
        "A key behind a # is at its default: remove the # to change it. A value ends with its line and is taken as it"
        " stands; %, ;, # and quotes are ordinary characters in it. An empty value is the same as none, except where"
        " the key says otherwise."
    ),
    "",
    deferred(
        "This file holds secrets: chmod 600 config.ini. Or keep them elsewhere: the environment wins over this file,"
        " and has a variable for every key. That of secret_key in [s3.source] is MASTOSYNC_S3_SOURCE_SECRET_KEY;"
        " MASTOSYNC_S3_SOURCE_SECRET_KEY_FILE names a file that holds the value instead."
    ),
    "",
    deferred(
        "Or let this file refer to them, in every key that is a secret: secret_key = env:AWS_SECRET_ACCESS_KEY takes"
        " the value of that variable, from the file that [env] names or else from the environment; secret_key_file ="
        " /path/to/a/file takes what that file holds."
    ),
)


def render_sample(
    values: Mapping[str, Mapping[str, str]] | None = None, remarks: Mapping[str, Sequence[str]] | None = None
) -> str:
    """The text of a configuration file that explains every key.

    `values` (section → key → text) are filled in, and the other keys of their sections left at the defaults;
    a section that is not among them is as in the sample. `remarks` (section → comments, of one line or more) stand at
    the heads.
    Raises: ConfigError for a value that a line cannot hold; ValueError for a key that does not exist.
    """
    values, remarks = values or {}, remarks or {}
    for name, texts in values.items():
        if name not in sections() or texts.keys() - _names_in(sections()[name]):
            raise ValueError(f"an unknown section {name}, or an unknown key among {', '.join(texts)}")
    lines = [line for text in _HEAD for line in _comment(say(text).format(placeholder=CHANGE_ME))]
    first_of_kind: dict[type[object], str] = {}
    for name, section in sections().items():
        explained_in = first_of_kind.setdefault(section.kind, name)
        lines += ["", "", f"[{name}]", *_comment(say(section.intro))]
        for remark in remarks.get(name, ()):
            lines += ["", *(line for text in remark.split("\n") for line in _comment(text))]
        lines += _keys(section, values.get(name), explained_in)
    return "\n".join(lines) + "\n"


def _names_in(section: Section) -> set[str]:
    """What may stand there: keys, and for a secret the file that holds it."""
    return {*section.keys, *(f"{name}_file" for name, key in section.keys.items() if key.info.form.hidden)}


def _keys(section: Section, texts: Mapping[str, str] | None, explained_in: str) -> Iterator[str]:
    keys = list(section.keys.values())
    known = [key for key in keys if explained_in != section.name and key.info.only is None]
    if known:
        yield from ("", *_comment(tr("These are explained in [{section}].", section=explained_in)))
        yield from (_line(key, texts) for key in known)
    for key in keys[len(known) :]:
        yield from ("", *_comment(_explanation(key)), _line(key, texts))


def _explanation(key: Key) -> str:
    form, meaning = key.info.form, say(key.info.meaning)
    described = form.described(say)
    if form.evident or not described:
        return meaning
    return tr("{meaning} Allowed: {allowed}.", meaning=meaning, allowed=described)


def _line(key: Key, texts: Mapping[str, str] | None) -> str:
    if texts and (name := next((each for each in (key.name, f"{key.name}_file") if each in texts), "")):
        text = texts[name]
        if text != text.strip() or "\n" in text or "\r" in text:
            raise ConfigError(
                tr(
                    "[{section}] {name} does not fit on a line of a file (spaces around it, or a line break)",
                    section=key.section,
                    name=name,
                ),
                hint=tr("Leave it out of the file and give it by {variable}.", variable=key.variable),
            )
        return f"{name} = {text}".rstrip()
    if key.info.sample == CHANGE_ME:
        return f"{key.name} = {CHANGE_ME}" if texts is None else f"# {key.name} ="
    default = "" if key.default is None else key.info.form.show(key.default)
    return f"# {key.name} = {key.info.sample or default}".rstrip()


def _comment(text: str) -> Iterator[str]:
    for line in wrapped(" ".join(text.split()), _WIDTH - len("# ")):
        yield f"# {line}".rstrip()
