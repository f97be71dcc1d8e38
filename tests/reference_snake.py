"""Snake once more, as plain as it can be written: a list of cells. The tests compare the JAX one with it."""

import dataclasses

import numpy as np

Cell = tuple[int, int]  # (row, column)
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left


@dataclasses.dataclass
class Game:
    """One game; `body` runs from the tail to the head, `fruit` is None until someone places it."""

    num_rows: int
    num_cols: int
    time_limit: int
    body: list[Cell]
    fruit: Cell | None
    step_count: int = 0
    crashed: bool = False

    def move(self, action: int) -> float:
        """Plays one move and returns its reward; an eaten fruit is gone, a new one is not placed."""
        target = self.target(action)
        self.step_count += 1
        if not self.allows(action):
            self.crashed = True
            return 0.0
        self.body.append(target)
        if target == self.fruit:
            self.fruit = None
            return 1.0
        self.body.pop(0)
        return 0.0

    def target(self, action: int) -> Cell:
        row, col = self.body[-1]
        return row + MOVES[action][0], col + MOVES[action][1]

    def allows(self, action: int) -> bool:
        row, col = self.target(action)
        on_board = 0 <= row < self.num_rows and 0 <= col < self.num_cols
        return on_board and (row, col) not in self.body[1:]  # the tail moves away

    @property
    def full(self) -> bool:
        return len(self.body) == self.num_rows * self.num_cols

    @property
    def terminated(self) -> bool:
        return self.crashed or self.full

    @property
    def truncated(self) -> bool:
        return not self.terminated and self.step_count >= self.time_limit

    def order(self) -> np.ndarray:
        """Returns 1 at the tail up to the length at the head, 0 elsewhere, int [rows, cols]."""
        order = np.zeros((self.num_rows, self.num_cols), np.int32)
        for place, cell in enumerate(self.body):
            order[cell] = place + 1
        return order

    def grid(self) -> np.ndarray:
        """Returns the five feature maps, float [rows, cols, 5]."""
        grid = np.zeros((self.num_rows, self.num_cols, 5), np.float32)
        for place, cell in enumerate(self.body):
            grid[cell][0] = 1
            grid[cell][4] = (place + 1) / len(self.body)
        grid[self.body[-1]][1] = 1
        grid[self.body[0]][2] = 1
        if self.fruit is not None:
            grid[self.fruit][3] = 1
        return grid

    def mask(self) -> np.ndarray:
        """Returns which moves do not crash, bool [4]."""
        return np.array([self.allows(action) for action in range(4)])
