"""Where settings come from: a stack file, the Pulumi configuration of a running program, and the baselines they extend.

Both readings end in the same function on a plain dictionary, so that the command line and the program cannot
disagree. Later layers win: the baseline's own baseline, the baseline, the stack. Mappings are merged key by key,
anything else is replaced, and `null` takes a key of the baseline away.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError

from infra.settings.aws import Network, overlapping
from infra.settings.model import Settings
from infra.settings.problems import Path as KeyPath
from infra.settings.problems import Problem, SettingsError, problems_of

NAMESPACE = "mlops"
STACKS = Path("stacks")
BASELINES = STACKS / "baselines"
LAYERS = ("foundation", "releases")

_SafeLoader = cast("type[yaml.SafeLoader]", getattr(yaml, "CSafeLoader", yaml.SafeLoader))


class _Loader(_SafeLoader):  # type: ignore[misc, valid-type] # one of two bases, by what libyaml offers
    """Reads plain data and refuses a key that is stated twice, of which YAML readers silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is stated twice", key_node.start_mark)
            seen.add(key)
        return cast("dict[Any, Any]", super().construct_mapping(node, deep=deep))


@dataclass(frozen=True)
class Layer:
    """The values that one file states."""

    file: str
    values: Mapping[str, Any]
    secret_keys: frozenset[str] = frozenset()


def load_stack_file(file: Path) -> Settings:
    """The settings of a stack, from its file and the baselines that the file names.

    Args:
        file: `<project>/stacks/Pulumi.<stack>.yaml`.

    Raises:
        SettingsError: with all problems found, before anything is touched.
    """
    project, named = file.parent.parent, STACKS / file.name
    if not file.is_file():
        known = sorted(
            path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in file.parent.glob("Pulumi.*.yaml")
        )
        hint = f"the stacks are: {', '.join(known)}" if known else "there are no stack files yet"
        raise SettingsError([Problem("", f"there is no such stack; {hint}", named.as_posix())])
    return resolve(project, _stated_by(project, named))


def _stated_by(project: Path, named: Path) -> Layer:
    """What a stack file states itself."""
    config = _mapping(project, named).get("config") or {}
    if not isinstance(config, dict):
        raise SettingsError([Problem("config", "must be a mapping of keys to values", named.as_posix())])
    prefix = NAMESPACE + ":"
    values = {str(key)[len(prefix) :]: value for key, value in config.items() if str(key).startswith(prefix)}
    secrets = frozenset(key for key, value in values.items() if isinstance(value, dict) and set(value) == {"secure"})
    return Layer(named.as_posix(), values, secrets)


def read_program(project: Path) -> Settings:
    """The settings of the stack whose program this is, as Pulumi hands them over.

    Raises:
        SettingsError: with all problems found, before anything is touched.
    """
    import pulumi

    prefix = NAMESPACE + ":"
    values = {key[len(prefix) :]: _structured(value) for key, value in _program().items() if key.startswith(prefix)}
    file = STACKS / f"Pulumi.{pulumi.get_stack()}.yaml"
    return resolve(project, Layer(file.as_posix(), values, secret_keys()))


def secret_keys() -> frozenset[str]:
    """The top-level keys of the running program's settings that hold secrets."""
    from pulumi.runtime import config

    prefix = NAMESPACE + ":"
    secret = {*config.get_config_secret_keys_env(), *(key for key in _program() if config.is_config_secret(key))}
    return frozenset(key[len(prefix) :] for key in secret if key.startswith(prefix))


def _program() -> dict[str, Any]:
    """The configuration of the running program by full key, as Pulumi hands it over."""
    from pulumi.runtime import config

    return {**config.get_config_env(), **config.CONFIG.get()}


def _structured(value: object) -> object:
    """A configuration value; Pulumi hands nested ones over as JSON text."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return None if value == "null" else value


def resolve(project: Path, stack: Layer) -> Settings:
    """Settings of one stack from what it states itself: baselines merged, everything checked."""
    layers = [*_below(project, stack), stack]
    values: Mapping[str, Any] = {}
    for layer in layers:
        values = merge(values, layer.values)

    def file_of(path: KeyPath) -> str:
        return origin(layers, path)

    def secret(path: KeyPath) -> bool:
        return any(path[:1] == (key,) for layer in layers for key in layer.secret_keys)

    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(problems_of(error, Settings, file_of, secret)) from None
    missing = [
        Problem(f"models.{name}.folder", reason, file_of(("models", name, "folder")), model.folder)
        for name, model in settings.models.items()
        if (reason := _folder_problem(project / model.folder))
    ]
    if missing:
        raise SettingsError(missing)
    if settings.aws is not None and "foundation" in settings.layers:
        here = settings.aws.network.cidr
        others = _other_networks(project, stack)
        met = [name for pair in overlapping({stack.file: here, **others}) if stack.file in pair for name in pair]
        if blocks := ", ".join(f"{name} has {others[name]}" for name in met if name != stack.file):
            reason = f"overlaps with another stack: {blocks}; choose a block that no stack of the project has"
            raise SettingsError([Problem("aws.network.cidr", reason, file_of(("aws", "network", "cidr")), here)])
    return settings


def _other_networks(project: Path, stack: Layer) -> dict[str, str]:
    """The networks of the project's other stacks by their files.

    A stack that cannot be read is left out: its own reading says what is wrong with it.
    """
    found = {}
    for file in sorted((project / STACKS).glob("Pulumi.*.yaml")):
        named = (STACKS / file.name).as_posix()
        if named == stack.file:
            continue
        try:
            other = _stated_by(project, STACKS / file.name)
            values: Mapping[str, Any] = {}
            for layer in [*_baselines(project, other), other]:
                values = merge(values, layer.values)
            if values.get("target") == "aws" and "foundation" in (values.get("layers") or LAYERS):
                network = (values.get("aws") or {}).get("network") or {}
                found[named] = Network.model_validate(network).cidr
        except (SettingsError, ValidationError, AttributeError, TypeError):
            continue
    return found


def _folder_problem(folder: Path) -> str | None:
    if not folder.is_dir():
        return "there is no such folder in the project"
    if not (folder / "model.py").is_file():
        return "the folder holds no model.py, so it is not a model"
    return None


def _below(project: Path, stack: Layer) -> list[Layer]:
    """What a stack builds on, the most general first: its baselines; of releases only, the stack of its foundation."""
    foundation = stack.values.get("foundation")
    if foundation is None:
        return _baselines(project, stack)

    def refused(reason: str, key: str = "foundation") -> SettingsError:
        return SettingsError([Problem(key, reason, stack.file, json.dumps(stack.values.get(key), default=str))])

    known = {path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in (project / STACKS).glob("Pulumi.*")}
    own = Path(stack.file).name.removeprefix("Pulumi.").removesuffix(".yaml")
    if not isinstance(foundation, str) or foundation not in known - {own}:
        listed = ", ".join(sorted(known - {own})) or "none"
        raise refused(f"there is no such other stack in {STACKS.as_posix()}; known are: {listed}")
    if stack.values.get("baseline") is not None:
        raise refused(
            f"a stack of releases has the settings of its foundation {foundation}: leave baseline out", "baseline"
        )
    base = _stated_by(project, STACKS / f"Pulumi.{foundation}.yaml")
    if base.values.get("foundation") is not None:
        raise refused(f"{base.file} is a stack of releases itself")
    if base.secret_keys:
        keys = ", ".join(f"{NAMESPACE}:{key}" for key in sorted(base.secret_keys))
        raise refused(f"{base.file} states {keys} encrypted, which no other stack can read")
    return [*_baselines(project, base), base]


def _baselines(project: Path, stack: Layer) -> list[Layer]:
    """The baselines that a stack extends, the most general first."""
    layers: list[Layer] = []
    name, key, named_in = stack.values.get("baseline"), "baseline", stack.file
    seen: list[str] = []
    while name is not None:
        known = sorted(path.stem for path in (project / BASELINES).glob("*.yaml"))
        if name not in known:
            listed = ", ".join(known) or "none"
            reason = f"there is no such baseline in {BASELINES.as_posix()}; known are: {listed}"
            raise SettingsError([Problem(key, reason, named_in, json.dumps(name, default=str))])
        if name in seen:
            circle = " → ".join([*seen[seen.index(name) :], name])
            raise SettingsError([Problem(key, f"baselines extend each other in a circle: {circle}", named_in, name)])
        seen.append(name)
        file = BASELINES / f"{name}.yaml"
        content = dict(_mapping(project, file))
        if "baseline" in content:
            reason = "a baseline names what it builds on with the key `extends`"
            raise SettingsError([Problem("baseline", reason, file.as_posix())])
        name, key, named_in = content.pop("extends", None), "extends", file.as_posix()
        layers.insert(0, Layer(named_in, content))
    return layers


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with what `over` states: mappings merged, anything else replaced, None removes."""
    merged = dict(base)
    for key, value in over.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            below = merged.get(key)
            merged[key] = merge(below if isinstance(below, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged


def origin(layers: list[Layer], path: KeyPath) -> str:
    """The file that states the value at a path; for a missing one, the file that states the nearest thing above it."""
    for length in range(len(path), 0, -1):
        for layer in reversed(layers):
            if _states(layer.values, path[:length]):
                return layer.file
    return layers[-1].file


def _states(values: object, path: KeyPath) -> bool:
    for part in path:
        held = values.keys() if isinstance(values, Mapping) else range(len(values)) if isinstance(values, list) else ()
        if part not in held:
            return False
        values = cast("Any", values)[part]
    return True


def _mapping(project: Path, file: Path) -> Mapping[str, Any]:
    """The content of a YAML file whose top level is a mapping."""
    try:
        content = yaml.load((project / file).read_text("utf-8"), Loader=_Loader)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = f"is not valid YAML{where}: {getattr(error, 'problem', None) or 'cannot be read'}"
        raise SettingsError([Problem("", reason, file.as_posix())]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([Problem("", f"cannot be read: {error}", file.as_posix())]) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError([Problem("", "must be a mapping of keys to values", file.as_posix())])
    return content
