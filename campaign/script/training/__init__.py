"""Scripts of trainings that are saved and loaded by way of ``get_state_dict`` and ``set_state_dict``."""

from .write import write_training_script

__all__ = ["write_training_script"]
