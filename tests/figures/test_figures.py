"""Each figure drawn from a tiny frame; what is checked are its artists, labels and limits."""

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection, PolyCollection, QuadMesh
from matplotlib.colors import to_hex
from matplotlib.patches import Circle, Rectangle

from vaeaudit import figures
from vaeaudit.core.errors import ArgumentError, ShapeError
from vaeaudit.figures.style import COLOURS, axis_label, looks


def legend_texts(figure):
    return [t.get_text() for legend in figure.legends for t in legend.get_texts()]


@pytest.fixture
def history():
    rows = [
        (objective, seed, epoch, -20.0 - k - seed + epoch, 2.0 * k + epoch, 10.0 - epoch)
        for k, objective in enumerate(["elbo", "beta(4)"])
        for seed in range(3)
        for epoch in range(4)
    ]
    return pd.DataFrame(rows, columns=["objective", "seed", "epoch", "elbo", "rate", "distortion"])


def test_training_curves_draw_every_run_and_the_mean(history):
    figure = figures.training_curves(history)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "ELBO (nats)",
        "rate (nats)",
        "distortion (nats)",
    ]
    assert all(len(axes.lines) == 2 * (3 + 1) for axes in figure.axes)  # objectives × (seeds + mean)
    bold = [line for line in figure.axes[0].lines if line.get_linewidth() > 1]
    elbo = history[history["objective"] == "elbo"].groupby("epoch")["elbo"].mean()
    np.testing.assert_allclose(bold[0].get_ydata(), elbo)
    assert legend_texts(figure) == ["elbo", "beta(4)"]


def test_training_curves_of_a_run_that_broke_off(history):
    history.loc[(history["seed"] == 0) & (history["epoch"] > 1), "elbo"] = np.nan
    figure = figures.training_curves(history, quantities=["elbo"])
    assert np.isfinite(figure.axes[0].lines[-1].get_ydata()).all()


def test_the_plane_shows_points_intervals_and_lines_of_equal_elbo():
    frame = pd.DataFrame({"objective": ["elbo", "beta(4)"], "rate": [10.0, 4.0], "distortion": [20.0, 25.0]})
    for column in ("rate", "distortion"):
        frame[f"{column}_lower"], frame[f"{column}_upper"] = frame[column] - 0.5, frame[column] + 0.25
    figure = figures.rate_distortion_plane(frame)
    axes = figure.axes[0]
    bars = [segment for c in axes.collections for segment in c.get_segments()]
    np.testing.assert_allclose(sorted(s[:, 0].tolist() for s in bars)[0], [3.5, 4.25])
    slanted = [line for line in axes.lines if line.get_gid() == "equal-elbo"]
    assert slanted
    for line in slanted:  # rate + distortion is constant along it
        assert np.ptp(np.sum(line.get_xydata(), axis=1)) < 1e-9
    assert axes.get_xlabel() == "rate (nats)"
    assert legend_texts(figure) == ["elbo", "beta(4)"]


def test_histograms_hold_every_value_and_mark_the_prior():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "objective": np.repeat(["elbo", "beta(4)"], 200),
            "loc": rng.normal(size=400),
            "scale": rng.uniform(0.1, 2, 400),
        }
    )
    figure = figures.posterior_histograms(frame)
    assert len(figure.axes) == 4
    assert figure.axes[1].get_xscale() == "log"
    for axes, centre in zip(figure.axes, (0.0, 1.0, 0.0, 1.0), strict=True):
        assert axes.lines[-1].get_xdata()[0] == centre
        outline = next(c for c in axes.collections if isinstance(c, PolyCollection)).get_paths()[0].vertices
        heights = outline[outline[:, 1] > 0][:, 1]
        assert 0 < heights.max() < 1  # proportions of the row's values
    with pytest.raises(ArgumentError, match="positive scale"):
        figures.posterior_histograms(frame.assign(scale=-1.0))


def test_active_units_step_down_from_the_threshold_and_the_band_is_given():
    frame = pd.DataFrame(
        {"threshold": [0.001, 0.01, 0.1], "count": [8, 5, 1], "lower": [7, 4, 0], "upper": [8, 6, 2]}
    )
    axes = figures.active_unit_curve(frame).axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_ylim()[0] == 0
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [8, 5, 1])
    assert axes.lines[0].get_drawstyle() == "steps-post"
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == 8
    assert [line.get_xdata()[0] for line in axes.lines[1:]] == [0.01]


def test_latents_are_rasterised_with_circles_of_prior_mass():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(60, 2)), columns=["z0", "z1"])
    frame["objective"], frame["label"] = np.repeat(["a", "b", "c"], 20), np.arange(60) % 10
    figure = figures.latent_scatter(frame, columns=2)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == ["a", "b", "c"]
    points = next(c for c in shown[0].collections if isinstance(c, PathCollection))
    assert points.get_rasterized()
    assert len(points.get_offsets()) == 20
    radii = [p.radius for p in shown[0].patches if isinstance(p, Circle)]
    for radius, mass in zip(radii, (0.5, 0.95), strict=True):  # P(|z| < r) = 1 − exp(−r²/2)
        assert 1 - math.exp(-(radius**2) / 2) == pytest.approx(mass)
    assert legend_texts(figure) == [str(i) for i in range(10)]


def test_latents_without_labels_or_settings():
    figure = figures.latent_scatter(pd.DataFrame({"z0": [0.0, 1.0], "z1": [0.5, np.nan]}))
    assert len(figure.axes[0].collections[0].get_offsets()) == 1


def test_images_are_clipped_and_labelled():
    images = np.linspace(-1, 2, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
    axes = figures.image_grid(images, ["data", "elbo"], ["a", "b", "c"]).axes[0]
    mosaic = np.asarray(axes.images[0].get_array())
    assert mosaic.shape == (2 * 4 + 1, 3 * 4 + 2, 4)
    np.testing.assert_allclose(mosaic[5:, 10:, 0], np.clip(images[1, 2], 0, 1))
    assert (mosaic[4, :, 3] == 0).all()  # gaps are transparent
    assert [t.get_text() for t in axes.get_yticklabels()] == ["data", "elbo"]
    assert axes.get_yticks()[1] == 5 + 1.5  # in the middle of its row
    assert [t.get_text() for t in axes.get_xticklabels()] == ["a", "b", "c"]
    with pytest.raises(ShapeError, match=r"\(row, column, height, width\)"):
        figures.image_grid(np.zeros((3, 8, 8)))
    with pytest.raises(ShapeError, match="row_labels"):
        figures.image_grid(images, ["data"])


def test_the_cross_table_compares_within_columns_and_frames_the_best():
    frame = pd.DataFrame(
        [
            ("elbo", "elbo", -30.0),
            ("elbo", "beta(4)", -60.0),
            ("beta(4)", "elbo", -34.0),
            ("beta(4)", "beta(4)", -50.0),
        ],
        columns=["trained_under", "scored_under", "value"],
    )
    figure = figures.cross_table_heatmap(frame)
    axes = figure.axes[0]
    mesh = next(c for c in axes.collections if isinstance(c, QuadMesh))
    np.testing.assert_allclose(np.asarray(mesh.get_array()).reshape(2, 2), [[0, 10], [4, 0]])
    assert [t.get_text() for t in axes.texts] == ["−30.0", "−60.0", "−34.0", "−50.0"]
    assert sorted(p.get_xy() for p in axes.patches if isinstance(p, Rectangle)) == [(0, 0), (1, 1)]
    with pytest.raises(ArgumentError, match="Average over seeds"):
        figures.cross_table_heatmap(pd.concat([frame, frame]))


def test_a_cell_without_a_number_stays_empty():
    frame = pd.DataFrame({"trained_under": ["a", "b"], "scored_under": ["x", "x"], "value": [-1.0, np.nan]})
    assert [t.get_text() for t in figures.cross_table_heatmap(frame).axes[0].texts] == ["−1.0"]


def test_intervals_brackets_and_points_without_interval():
    frame = pd.DataFrame(
        {
            "objective": ["elbo", "elbo", "beta(4)", "beta(4)"],
            "quantity": ["log_evidence", "bracket", "log_evidence", "bracket"],
            "value": [-25.0, np.nan, -27.0, np.nan],
            "lower": [-25.5, -26.0, np.nan, np.nan],
            "upper": [-24.5, -24.0, np.nan, np.nan],
            "unit": "nats",
        }
    )
    figure = figures.evidence_intervals(frame)
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["elbo", "beta(4)"]
    spans = [
        tuple(line.get_xdata())
        for line in axes.lines
        if len(line.get_xdata()) == 2 and line.get_marker() in ("None", "|", None)
    ]
    assert (-25.5, -24.5) in spans
    assert (-26.0, -24.0) in spans
    hollow = [
        line
        for line in axes.lines
        if line.get_markerfacecolor() == "none" and np.isfinite(line.get_xdata()).all()
    ]
    assert [line.get_xdata()[0] for line in hollow] == [-27.0]
    assert axes.get_xlabel() == "nats"


def test_bound_breaks_are_counted_against_the_upper_bound():
    frame = pd.DataFrame(
        {
            "objective": "penalty",
            "log_evidence": [-10.0, -10.0, -10.0, -10.0],
            "log_evidence_upper": [-9.0, -9.0, -9.0, -9.0],
            "objective_value": [-12.0, -9.5, -8.0, -7.0],
        }
    )
    axes = figures.bound_scatter(frame).axes[0]
    assert axes.get_title(loc="left") == "penalty\n50.0% above"  # −9.5 lies within the bound's slack
    above = [c for c in axes.collections if to_hex(c.get_facecolor()[0]) == COLOURS[1].lower()]
    assert len(above[0].get_offsets()) == 2
    without = figures.bound_scatter(frame.drop(columns="log_evidence_upper")).axes[0]
    assert without.get_title(loc="left") == "penalty\n75.0% above"


def test_curves_sort_by_x_and_fill_the_band():
    frame = pd.DataFrame(
        {"beta": [4.0, 0.1, 1.0], "rate": [1.0, 9.0, 5.0], "lo": [0.5, 8.0, 4.0], "hi": [2.0, 9.5, 6.0]}
    )
    figure = figures.curves(frame, x="beta", y="rate", lower="lo", upper="hi", log_x=True, reference=3.0)
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [0.1, 1.0, 4.0])
    assert axes.collections[0].get_paths()[0].vertices[:, 1].min() == 0.5
    assert axes.get_ylabel() == "rate (nats)"
    assert not figure.legends
    with pytest.raises(ArgumentError, match="both `lower` and `upper`"):
        figures.curves(frame, x="beta", y="rate", lower="lo")


def test_panels_share_a_look_per_label_and_one_legend():
    frame = pd.DataFrame(
        [
            (quantity, objective, epoch, value + epoch, value - 1.0, value + 1.0)
            for quantity, objectives in {"rate": ["elbo", "beta(4)"], "loss": ["beta(4)"]}.items()
            for objective in objectives
            for epoch, value in ((2, 5.0), (1, 7.0))
        ],
        columns=["quantity", "objective", "epoch", "value", "lower", "upper"],
    )
    figure = figures.curve_panels(
        frame, x="epoch", hue="objective", lower="lower", upper="upper", titles={"loss": "loss of log p(x)"},
        log_x=True, log_y=["rate"], reference={"loss": 6.5},
    )  # fmt: skip
    rate, loss = (axes for axes in figure.axes if axes.get_visible())
    assert [axes.get_title(loc="left") for axes in (rate, loss)] == ["rate (nats)", "loss of log p(x)"]
    assert [axes.get_yscale() for axes in (rate, loss)] == ["log", "linear"]
    assert rate.lines[0].get_xdata().tolist() == [1, 2]  # sorted
    assert rate.lines[1].get_color() == loss.lines[0].get_color() != rate.lines[0].get_color()
    assert loss.lines[-1].get_ydata() == [6.5, 6.5]
    assert len([c for c in rate.collections if isinstance(c, PolyCollection)]) == 2
    assert legend_texts(figure) == ["elbo", "beta(4)"]


def test_many_panels_go_into_rows_and_the_rest_stays_empty():
    frame = pd.DataFrame({"quantity": list("abcd"), "x": range(4), "value": range(4)})
    figure = figures.curve_panels(frame, x="x", columns=3)
    assert [axes.get_visible() for axes in figure.axes] == [True] * 4 + [False] * 2
    assert not figure.legends


@pytest.mark.parametrize(
    ("draw", "columns"),
    [
        (figures.rate_distortion_plane, ["rate", "distortion", "objective"]),
        (figures.latent_scatter, ["z0", "z1"]),
        (figures.bound_scatter, ["log_evidence", "objective_value"]),
        (figures.active_unit_curve, ["threshold", "count"]),
        (figures.cross_table_heatmap, ["trained_under", "scored_under", "value"]),
        (figures.evidence_intervals, ["objective", "value", "lower", "upper"]),
    ],
)
def test_an_empty_plot_is_refused(draw, columns):
    with pytest.raises(ArgumentError, match="nothing to draw"):
        draw(pd.DataFrame({c: [np.nan] for c in columns}))
    with pytest.raises(ArgumentError, match="needs the column"):
        draw(pd.DataFrame({"other": [1.0]}))


def test_looks_differ_without_colour():
    found = list(looks([f"objective {i}" for i in range(32)]).values())
    assert len({(look.colour, str(look.dash)) for look in found}) == 32
    assert found[0].marker != found[8].marker  # same colour
    assert axis_label("loc") == "μ"


def test_drawing_changes_no_global_setting(history):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    figures.training_curves(history)
    assert dict(mpl.rcParams) == before


def test_importing_figures_does_not_import_matplotlib():
    code = (
        "import sys, vaeaudit.figures, vaeaudit.tables, vaeaudit.report.page; "
        "print(sorted({'matplotlib', 'pandas', 'jax', 'seaborn', 'jinja2', 'typst'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
