"""CNN10 of autrainer, from scratch: `PYTHON benchmarks/autrainer_cnn10.py TABLE FOLDER`, PYTHON having autrainer.

One of the programs that `time_to_accuracy.py` compares with. It uses nothing of audio_lightning. TABLE is as in
`librosa_loop.py`; FOLDER takes autrainer's workspace. Recordings are brought to one length and one rate (32 kHz, that
of autrainer's log-mel preset) first, as its transforms need inputs of one shape. A tenth of the training recordings
chooses the epoch, as autrainer always does. The last line that is printed is the test accuracy as JSON.
"""

import argparse
import csv
import json
import random
import subprocess
import sys
from pathlib import Path

import soundfile
import torch
import torchaudio
import yaml

RATE = 32000

DATASET = {
    "id": "Clips",
    "_target_": "autrainer.datasets.BaseClassificationDataset",
    "path": "data/clips",
    "features_subdir": "log_mel_32k",
    "index_column": "path",
    "target_column": "label",
    "file_type": "npy",
    "file_handler": "autrainer.datasets.utils.NumpyFileHandler",
    "criterion": "autrainer.criterions.BalancedCrossEntropyLoss",
    "metrics": ["autrainer.metrics.Accuracy"],
    "tracking_metric": "autrainer.metrics.Accuracy",
    "transform": {"type": "grayscale", "base": []},
}

CONFIG = {
    "defaults": ["_autrainer_", "_self_"],
    "results_dir": "results",
    "experiment_id": "default",
    "device": "cpu",
    "progress_bar": False,
    "hydra": {"sweeper": {"params": {"dataset": "Clips", "model": "Cnn10", "optimizer": "Adam"}}},
}


def write_clips(table: Path, folder: Path, seconds: float) -> None:
    """Recordings of one length as WAV files, and the three tables that autrainer reads."""
    rng = random.Random(0)
    rows: dict[str, list[tuple[str, str]]] = {"train": [], "dev": [], "test": []}
    (folder / "default").mkdir(parents=True, exist_ok=True)
    with table.open(newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            samples, rate = soundfile.read(row["path"], dtype="float32", always_2d=True)
            wave = torchaudio.functional.resample(torch.from_numpy(samples.mean(axis=1)), rate, RATE)
            size = round(seconds * RATE)
            wave = torch.nn.functional.pad(wave[:size], (0, max(0, size - len(wave))))
            soundfile.write(folder / "default" / f"{number}.wav", wave.numpy(), RATE)
            part = row["split"]
            if part == "train" and rng.random() < 0.1:
                part = "dev"
            rows[part].append((f"{number}.wav", row["label"]))
    for part, found in rows.items():
        with (folder / f"{part}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("path", "label"))
            writer.writerows(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder = arguments.folder
    write_clips(arguments.table, folder / "data" / "clips", arguments.seconds)
    (folder / "conf" / "dataset").mkdir(parents=True, exist_ok=True)
    (folder / "conf" / "dataset" / "Clips.yaml").write_text(yaml.safe_dump(DATASET))
    config = {**CONFIG, "iterations": arguments.epochs}
    config["hydra"]["sweeper"]["params"].update({"+seed": arguments.seed, "+batch_size": 32, "+learning_rate": 0.001})
    (folder / "conf" / "config.yaml").write_text(yaml.safe_dump(config))
    for command in ("preprocess", "train"):
        subprocess.run([Path(sys.executable).with_name("autrainer"), command], cwd=folder, check=True)
    (found,) = (folder / "results" / "default" / "training").glob("*/_test/test_holistic.yaml")
    accuracy = yaml.safe_load(found.read_text())["accuracy"]["all"]
    print(json.dumps({"accuracy": accuracy}))


if __name__ == "__main__":
    main()
