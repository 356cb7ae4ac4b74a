import threading

import numpy as np
import pytest
import torch

from cellassets.training.batches import TrainBatches, ValidationBatches, normalised, read_ahead
from cellassets.training.losses import mixed
from cellassets.training.recipe import AugmentationParameters, Mixing
from cellassets.training.sampling import balanced_batches
from cellassets.training.sites import LabelledSites

LABELS = np.array([0] * 60 + [1] * 7 + [2] * 3)


def labelled(labels: np.ndarray = LABELS, n_channels: int = 2) -> LabelledSites:
    n = len(labels)
    scale = np.full((n, n_channels), 0.5, dtype=np.float32)
    return LabelledSites(np.zeros(n, dtype=np.int64), np.arange(n), labels, scale, -scale)


def numbered_images(positions: np.ndarray) -> np.ndarray:
    return np.tile(positions.astype(np.uint8)[:, None, None, None], (1, 2, 24, 24))


def train_batches(seed: int = 0, epoch: int = 0, n_threads: int = 2, **changes) -> TrainBatches:
    augmentation = AugmentationParameters(crop_px=16, gain_jitter=0.2, offset_jitter=0.1, **changes)
    return TrainBatches(labelled(), numbered_images, augmentation, 16, seed=seed, epoch=epoch, n_threads=n_threads)


def test_every_class_comes_up_equally_often_however_rare_it_is():
    drawn = balanced_batches(LABELS, 16, np.random.default_rng(0))
    assert drawn.shape == (5, 16)
    counts = np.bincount(LABELS[drawn.ravel()])
    assert counts.max() - counts.min() <= 1
    assert (np.ptp([np.bincount(LABELS[batch], minlength=3) for batch in drawn], axis=1) <= 2).all()


def test_no_site_of_a_class_is_seen_twice_before_all_are_seen_once():
    drawn = balanced_batches(LABELS, 16, np.random.default_rng(0)).ravel()
    for label in (0, 1, 2):
        members = drawn[LABELS[drawn] == label]
        n = (label == LABELS).sum()
        for start in range(0, len(members) - n, n):
            assert len(set(members[start : start + n])) == n


def test_batches_keep_images_and_labels_together_and_stay_8_bit():
    batches = list(train_batches())
    assert len(batches) == len(train_batches()) == 5
    for batch in batches:
        assert batch.images.dtype == torch.uint8
        assert batch.images.shape == (16, 2, 16, 16)
        np.testing.assert_array_equal(LABELS[batch.images[:, 0, 0, 0].numpy()], batch.labels.numpy())


def test_an_epoch_depends_on_seed_and_epoch_and_not_on_threads():
    def flat(**options):
        return torch.cat([torch.cat([b.images.flatten().float(), b.scale.flatten()]) for b in train_batches(**options)])

    assert torch.equal(flat(n_threads=1), flat(n_threads=4))
    assert not torch.equal(flat(epoch=0), flat(epoch=1))
    assert not torch.equal(flat(seed=0), flat(seed=1))


def test_gain_and_offset_act_on_normalised_intensities():
    for batch in train_batches():
        gain = batch.scale / 0.5
        assert ((gain >= 0.8) & (gain <= 1.2)).all()
        assert abs(float((batch.shift + 0.5 * gain).mean())) < 0.1


def test_validation_sees_every_site_once_in_order_and_unchanged():
    batches = list(ValidationBatches(labelled(), numbered_images, centre_crop_px=20, batch_size=32))
    assert [len(batch.labels) for batch in batches] == [32, 32, 6]
    assert torch.cat([batch.images[:, 0, 0, 0] for batch in batches]).tolist() == list(range(70))
    assert batches[0].images.shape[-2:] == (20, 20)
    assert (torch.cat([batch.scale for batch in batches]) == 0.5).all()


def test_reading_ahead_keeps_the_order_and_is_bounded():
    begun, gate = [], threading.Event()

    def task(i):
        begun.append(i)
        if i == 0:
            gate.wait(5)
        return i

    found = read_ahead([lambda i=i: task(i) for i in range(50)], n_threads=3, n_ahead=4)
    gate.set()
    assert next(found) == 0
    assert max(begun) <= 6
    assert list(found) == list(range(1, 50))


def test_an_error_while_reading_reaches_the_trainer():
    def fails():
        message = "shard 3 is gone"
        raise OSError(message)

    with pytest.raises(OSError, match="shard 3 is gone"):
        list(read_ahead([lambda: 1, fails, lambda: 2], n_threads=2))


def test_a_channel_that_is_left_out_has_its_mean_everywhere():
    n_out = 0
    for batch in train_batches(channel_dropout_frac=0.4):
        images, is_out = normalised(batch), batch.scale == 0
        assert (images[is_out] == 0).all()
        assert (images[~is_out] != 0).any()
        n_out += int(is_out.sum())
    assert n_out > 0


@pytest.mark.parametrize("kind", ["cutmix", "mixup"])
def test_images_and_labels_are_mixed_in_the_same_shares(kind):
    for batch in train_batches(mix=Mixing(kind=kind, image_frac=1)):
        images = normalised(batch)
        found, second = mixed(images, batch)
        for row, partner in enumerate(batch.partner.tolist()):
            own, other = images[row, 0, 0, 0], images[partner, 0, 0, 0]  # these images are even
            share = float(second.own_frac[row])
            assert float(found[row, 0].mean()) == pytest.approx(float(share * own + (1 - share) * other), abs=1e-4)
            assert second.labels[row] == batch.labels[partner]


def test_mixed_batches_depend_on_seed_and_epoch_and_not_on_threads():
    def flat(**options):
        batches = train_batches(mix=Mixing(kind="cutmix"), channel_dropout_frac=0.2, **options)
        return torch.cat([torch.cat([b.own_share.flatten(), b.partner.float(), b.scale.flatten()]) for b in batches])

    assert torch.equal(flat(n_threads=1), flat(n_threads=4))
    assert not torch.equal(flat(epoch=0), flat(epoch=1))
