"""The samples that a variance study rests on: drawn once, and kept on disk."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.config.ranges import UsageError
from experiments.runs.divergence import NonFiniteError
from experiments.storage.files import WriteError
from experiments.studies.variance import sampling


def draw(folder, num_samples=8, chunk_size=4, seed=0, learner=1.0, environments=0, gradient=1.0):
    """Draws samples of a point whose windows cost nothing: each gradient is its window's random number, scaled."""

    def program(fixed, eta, keys):
        return gradient * fixed[0] * jax.vmap(lambda key: jax.random.normal(key, (3, 2)))(keys)

    fixed = (jnp.float32(learner), jax.random.key(environments))
    point = sampling.Point("late", {}, ("own_critic",), program, None, fixed, {}, {}, ())
    return sampling.draw(point, program, jax.random.key(seed), num_samples, chunk_size, folder, lambda count: None)


def test_windows_do_not_depend_on_the_chunks_they_come_in(tmp_path):
    whole = draw(tmp_path / "whole", num_samples=9, chunk_size=9)
    draw(tmp_path / "parts", num_samples=3, chunk_size=2)
    np.testing.assert_array_equal(whole, draw(tmp_path / "parts", num_samples=9, chunk_size=3))
    assert whole.shape == (9, 3, 2)


@pytest.mark.parametrize("other", [{"learner": 2.0}, {"environments": 1}, {"seed": 1}])
def test_samples_of_another_agent_environment_or_key_are_refused(other, tmp_path):
    draw(tmp_path)
    with pytest.raises(UsageError, match="holds samples of another agent"):
        draw(tmp_path, **other)


@pytest.mark.parametrize("how", ["cut", "nan", "shape"])
def test_a_damaged_file_of_samples_is_refused_by_name_and_drawn_again_without_it(how, tmp_path):
    before = draw(tmp_path)
    file = tmp_path / "00000004.npy"
    chunk = np.load(file)
    if how == "cut":
        file.write_bytes(file.read_bytes()[:-3])
    else:
        np.save(file, {"nan": chunk * np.nan, "shape": chunk[:, :1]}[how])
    with pytest.raises(UsageError, match=f"{file}: is not a file of samples"):
        draw(tmp_path)
    file.unlink()
    np.testing.assert_array_equal(draw(tmp_path), before)


def test_a_gradient_that_is_not_finite_stops_the_study(tmp_path):
    draw(tmp_path, num_samples=4)
    with pytest.raises(NonFiniteError, match="sample 4 at late"):
        draw(tmp_path, gradient=jnp.nan)
    assert len(list(tmp_path.glob("*.npy"))) == 1


def test_a_full_disk_stops_a_study_in_one_line_and_it_goes_on(tmp_path, monkeypatch):
    def full(stream, chunk):
        raise OSError("2400 requested and 9 written")  # as NumPy says it, without a number

    draw(tmp_path, num_samples=4)
    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        with pytest.raises(WriteError, match=r"cannot be written to \(2400 requested and 9 written\)"):
            draw(tmp_path)
    assert [file.name for file in tmp_path.glob("*.npy")] == ["00000000.npy"]
    np.testing.assert_array_equal(draw(tmp_path), draw(tmp_path / "whole"))
