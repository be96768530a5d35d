"""Typed settings. Importing them loads neither torch nor Qt, so that forms open before torch is there."""

from engine.config.attack import (
    ATTACKS,
    NORM_TITLES,
    AttackConfig,
    PgdConfig,
    TrainingAttackConfig,
    is_standard,
    members_of,
)
from engine.config.base import Settings, format_ratio, parse_ratio
from engine.config.checkpoint import ArchitectureName, CheckpointConfig
from engine.config.data import DataConfig
from engine.config.draft import RunDraft, StudyDraft, axes_for, field_at, paths_of
from engine.config.importing import ImportConfig
from engine.config.model import ModelConfig
from engine.config.run import (
    STAGE_TITLES,
    STAGES,
    DeviceName,
    InspectionConfig,
    MachineConfig,
    RunConfig,
    StageName,
)
from engine.config.study import (
    ComparisonConfig,
    ComparisonMeasure,
    StudyConfig,
    dump_run,
    dump_study,
    line_name,
    load_study,
    parse_run,
    parse_study,
    problems_of,
    require_usable,
    settings_hash,
    validate,
)
from engine.config.training import (
    AugmentationConfig,
    BatchNormPolicy,
    FinetuningConfig,
    PretrainingConfig,
    TrainingConfig,
)

__all__ = [
    "ATTACKS",
    "NORM_TITLES",
    "STAGES",
    "STAGE_TITLES",
    "ArchitectureName",
    "AttackConfig",
    "AugmentationConfig",
    "BatchNormPolicy",
    "CheckpointConfig",
    "ComparisonConfig",
    "ComparisonMeasure",
    "DataConfig",
    "DeviceName",
    "FinetuningConfig",
    "ImportConfig",
    "InspectionConfig",
    "MachineConfig",
    "ModelConfig",
    "PgdConfig",
    "PretrainingConfig",
    "RunConfig",
    "RunDraft",
    "Settings",
    "StageName",
    "StudyConfig",
    "StudyDraft",
    "TrainingAttackConfig",
    "TrainingConfig",
    "axes_for",
    "dump_run",
    "dump_study",
    "field_at",
    "format_ratio",
    "is_standard",
    "line_name",
    "load_study",
    "members_of",
    "parse_ratio",
    "parse_run",
    "parse_study",
    "paths_of",
    "problems_of",
    "require_usable",
    "settings_hash",
    "validate",
]
