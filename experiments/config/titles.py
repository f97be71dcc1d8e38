"""What texts and pictures call the settings of a run."""

from experiments.config import estimators
from experiments.config.environments import SNAKE
from experiments.config.own_code import is_own_code
from experiments.config.ranges import board_shape
from experiments.config.settings import Config


def environment_title(config: Config) -> str:
    """Returns what pictures call the environment."""
    if config.environment != SNAKE:
        return config.environment
    rows, columns = board_shape(config.board_size)
    return f"Snake {rows}×{columns}" + ("" if config.action_mask else " without action mask")


def estimator_title(estimator: str, horizon: int | str) -> str:
    """Returns what texts and pictures call an estimator, such as `multi-step(5)`; files call it `multi_step_5`."""
    if estimator == "none":
        return "fixed"
    said = estimators.named(estimator)
    if is_own_code(estimator):
        estimator = estimator.partition(":")[2]
    elif said and said.horizon is not None:
        estimator, horizon = said.name, "+".join(str(number) for number in said[1:] if number is not None)
    return estimator.replace("_", "-") + ("" if estimator == "single_step" else f"({horizon})")


def run_title(config: Config) -> str:
    """Returns what texts and pictures call the estimator of a run."""
    further = f"+{config.bootstrap_updates}" if config.estimator == "bootstrapped" else ""
    return estimator_title(config.estimator, f"{config.horizon}{further}")


def return_label(config: Config) -> str:
    """Returns what pictures call the return of an episode."""
    return "fruits an episode" if config.environment == SNAKE else "return of an episode"
