"""What all pydantic models of the file have in common."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Strict: "10" is no number, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=False)


def as_list(value: object) -> object:
    """One value may stand for a list of one."""
    return value if isinstance(value, list) else [value]
