"""The joint task, transfer between tasks, and the two other architectures."""

import pytest
import torch

from _common import AdditionTransformer, count_parameters
from lab.addition import other_architectures, two_tasks
from lab.runs import RunConfig, datasets, history_table, new_model, train

CPU = torch.device("cpu")


def test_sequences_of_both_tasks_answer_at_the_same_place():
    X, Y = two_tasks.make_dataset(400, seed=1)
    assert X.shape == Y.shape == (400, two_tasks.LENGTH - 1) and torch.equal(X[:, 1:], Y[:, :-1])
    for x, y in zip(X.tolist(), Y.tolist()):
        whole = "".join(two_tasks.SYMBOLS[token] for token in x + y[-1:])
        answer = "".join(two_tasks.SYMBOLS[token] for token in y[two_tasks.ANSWER_START :])
        if whole.startswith("<ADD>"):
            question, _ = whole.removeprefix("<ADD>").split("=")
            a, b = question.split("+")
            assert answer == f"{int(a) + int(b):04d}"[::-1] + "<EOS><PAD>"
        else:
            question, _ = whole.removeprefix("<REV><PAD><PAD>").split("=")
            assert answer == question[::-1] + "<EOS>"
    assert (X[:200, 0] == two_tasks.ADD).all() and (X[200:, 0] == two_tasks.REV).all()


def test_joint_floor_counts_the_random_targets():
    X, Y = two_tasks.make_dataset(4000, seed=3)
    # A target is random where it is a digit of the question: everything before "=" that is a digit.
    random = (Y[:, :7] < 10).sum(1).double().mean().item()
    assert two_tasks.joint_floor() == pytest.approx(random * 2.302585092994046 / 14)


def test_each_task_needs_a_row():
    with pytest.raises(ValueError, match="at least one row"):
        two_tasks.make_dataset(10, 1, n_addition=10)


def test_joint_runs_keep_the_accuracy_of_each_task():
    config = RunConfig(task="both", n_train=600, n_test=100, epochs=1, d_model=8, d_ff=8)
    model, history, _ = train(config, CPU, progress=False)
    assert {"addition_accuracy", "reversal_accuracy"} <= set(history)
    assert history["accuracy"].iloc[0] == pytest.approx(
        (history["addition_accuracy"] + history["reversal_accuracy"]).iloc[0] / 2
    )
    assert "addition_accuracy" not in history_table(
        {
            "epoch": [1],
            "loss": [1.0],
            "accuracy": [0.0],
            "train_accuracy": [0.0],
            "column_accuracy": [[0.0]],
            "lr": [0.1],
            "seconds": [1.0],
        }
    )


def test_transfer_starts_from_the_weights_of_the_other_task():
    torch.manual_seed(0)
    source, target = AdditionTransformer(max_seq_len=13), AdditionTransformer(max_seq_len=12)
    two_tasks.start_from(target, source.state_dict())
    for (name, a), (_, b) in zip(source.state_dict().items(), target.state_dict().items()):
        assert torch.equal(a[:12] if name == "pos_emb.weight" else a, b), name
    back = AdditionTransformer(max_seq_len=13)
    kept = back.pos_emb.weight[12].clone()
    two_tasks.start_from(back, target.state_dict())
    assert torch.equal(back.pos_emb.weight[:12], target.pos_emb.weight) and torch.equal(
        back.pos_emb.weight[12], kept
    )
    with pytest.raises(ValueError, match="needs|fit"):
        two_tasks.start_from(AdditionTransformer(d_model=16), source.state_dict())
    with pytest.raises(ValueError, match="do not fit"):
        two_tasks.start_from(AdditionTransformer(n_layers=1), source.state_dict())


def test_a_run_cannot_start_from_its_own_task():
    for settings in (
        {"task": "addition", "start_from": "addition"},
        {"task": "both", "start_from": "reversal"},
    ):
        with pytest.raises(ValueError, match="the other task"):
            RunConfig(**settings)


@pytest.mark.parametrize("name", ["gru", "convolution"])
def test_other_architectures_are_of_equal_size_and_never_look_ahead(name):
    model = new_model(RunConfig(architecture=name)).eval()
    assert count_parameters(model) == pytest.approx(17_760, rel=0.02)
    X = datasets(RunConfig(n_train=20, n_test=20))[0]
    logits = model(X)
    assert logits.shape == (20, 12, 14)
    for t in range(12):  # what comes after t changes nothing at t; t itself does
        later = X.clone()
        later[:, t + 1 :] = 12
        assert torch.allclose(model(later)[:, : t + 1], logits[:, : t + 1], atol=1e-5)
        now = X.clone()
        now[:, 0] = (now[:, 0] + 1) % 10
    assert (
        model(now)[:, -1] - logits[:, -1]
    ).abs().max() > 1e-4  # the first token still reaches the last row
    with pytest.raises(ValueError, match="unknown architecture"):
        other_architectures.build("rnn", 13)
    with pytest.raises(ValueError, match="batch, at most"):
        model(torch.zeros(2, 14, dtype=torch.int64))
