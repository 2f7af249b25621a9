"""INI file and environment in, one frozen and typed `Config` out.

See docs/design/interface.md.
"""

from mastosync.config.loader import load_config
from mastosync.config.providers import PROVIDERS, Preset, PricesConfig, Provider, preset_of
from mastosync.config.sample import render_sample
from mastosync.config.schema import (
    Config,
    DatabaseConfig,
    ManifestConfig,
    Role,
    S3Config,
    SecretReference,
    StoreConfig,
    TunnelConfig,
)
from mastosync.config.secrets import Environment, Scrubber, Secret, ambient_secrets
from mastosync.config.sections import (
    BANDWIDTH,
    SYNTAXES,
    CeleryConfig,
    CopyConfig,
    EnvConfig,
    FilesystemConfig,
    OwnerKey,
    PlanConfig,
    Timetable,
)
from mastosync.config.sources import find_config
from mastosync.config.values import CHANGE_ME, DURATION, parse_size

__all__ = [
    "BANDWIDTH",
    "CHANGE_ME",
    "DURATION",
    "PROVIDERS",
    "SYNTAXES",
    "CeleryConfig",
    "Config",
    "CopyConfig",
    "DatabaseConfig",
    "EnvConfig",
    "Environment",
    "FilesystemConfig",
    "ManifestConfig",
    "OwnerKey",
    "PlanConfig",
    "Preset",
    "PricesConfig",
    "Provider",
    "Role",
    "S3Config",
    "Scrubber",
    "Secret",
    "SecretReference",
    "StoreConfig",
    "Timetable",
    "TunnelConfig",
    "ambient_secrets",
    "find_config",
    "load_config",
    "parse_size",
    "preset_of",
    "render_sample",
]
