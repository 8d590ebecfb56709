"""Audio classifier as tutorials write it: librosa, a small CNN and a loop: `python benchmarks/librosa_loop.py TABLE`.

One of the programs that `time_to_accuracy.py` compares with. It uses nothing of audio_lightning. TABLE is a CSV file
with the columns ``path``, ``label`` and ``split`` (``train`` or ``test``). Log-mel spectrograms of all recordings are
computed once and kept in memory; recordings are cut or padded with zeros to the same length. The last line that is
printed is the test accuracy as JSON.
"""

import argparse
import csv
import json
from pathlib import Path

import librosa
import numpy as np
import torch
from torch import nn

RATE, BANDS, FFT, HOP = 22050, 64, 1024, 512


def log_mel(path: str, seconds: float) -> np.ndarray:
    samples, _ = librosa.load(path, sr=RATE, duration=seconds)
    samples = librosa.util.fix_length(samples, size=round(seconds * RATE))
    mel = librosa.feature.melspectrogram(y=samples, sr=RATE, n_mels=BANDS, n_fft=FFT, hop_length=HOP)
    return librosa.power_to_db(mel, ref=np.max).astype(np.float32)


def network(classes: int) -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in ((1, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(128, classes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--seconds", type=float, default=4.0, help="length that recordings are brought to")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    with arguments.table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    classes = sorted({row["label"] for row in rows})
    inputs = torch.from_numpy(np.stack([log_mel(row["path"], arguments.seconds) for row in rows]))[:, None]
    targets = torch.tensor([classes.index(row["label"]) for row in rows])
    train = torch.tensor([row["split"] == "train" for row in rows])
    mean, std = inputs[train].mean(), inputs[train].std()
    inputs = (inputs - mean) / std

    model = network(len(classes))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss_function = nn.CrossEntropyLoss()
    data = torch.utils.data.TensorDataset(inputs[train], targets[train])
    loader = torch.utils.data.DataLoader(data, batch_size=32, shuffle=True)
    for _ in range(arguments.epochs):
        model.train()
        for clips, labels in loader:
            optimizer.zero_grad()
            loss_function(model(clips), labels).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        predicted = torch.cat([model(part).argmax(dim=1) for part in inputs[~train].split(64)])
    print(json.dumps({"accuracy": (predicted == targets[~train]).float().mean().item()}))


if __name__ == "__main__":
    main()
