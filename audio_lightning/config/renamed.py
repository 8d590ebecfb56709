"""Old names in saved configurations, and the names that took their place.

Configurations of runs, sweeps and checkpoints keep working when a class moves: they are upgraded where they are read.
A typed old name is refused with the new one. CONTRIBUTING says how long an old name is kept.
"""

from typing import Any

_MOVED = {  # package -> modules and classes; in 0.1 each class was named by its package alone
    "models": (
        "alexnet.AlexNet ast.AST bcresnet.BCResNet cnn.CNN cnn_deep.CNNDeep conv1d.Conv1D conv1d_vgg.Conv1DVGG "
        "conv2d_vgg.Conv2DVGG crnn.CRNN densenet.DenseNet dnn.DNN efficientnet.EfficientNet googlenet.GoogLeNet "
        "kwt.KWT lstm.LSTM matchboxnet.MatchboxNet mobilenet.MobileNet panns.PANNs resnet.ResNet sincnet.SincNet "
        "squeezenet.SqueezeNet timm.Timm transformer.Transformer vgg.VGG wav2vec2.Wav2Vec2"
    ),
    "features": (
        "cqt.CQT fbank.FBank flat_spectrogram.FlatSpectrogram lfcc.LFCC log_mel.LogMel log_mel_cqt.LogMelCQT "
        "log_mel_pcen.LogMelPCEN mel.Mel mfcc.MFCC pcen.PCEN spectrogram.Spectrogram waveform.Waveform"
    ),
    "augment": (
        "background_noise.BackgroundNoise between_class.BetweenClass codec.Codec colored_noise.ColoredNoise "
        "cutmix.CutMix filter.Filter frequency_shift.FrequencyShift gain.Gain mixup.Mixup mu_law.MuLaw "
        "polarity.Polarity random_crop.RandomCrop reverberation.Reverberation room_response.RoomResponse "
        "spec_augment.SpecAugment speed.Speed time_shift.TimeShift"
    ),
    "data": (
        "sources.demo.source.Demo sources.esc10.ESC10 sources.esc50.ESC50 sources.folder.Folder "
        "sources.instruments.Instruments sources.speech_commands.SpeechCommands "
        "sources.speech_commands_npz.SpeechCommandsNPZ sources.table.Table sources.urbansound.UrbanSound "
        "sources.urbansound8k.UrbanSound8K"
    ),
}

TARGETS = {
    **{
        f"audio_lightning.{package}.{new.rpartition('.')[2]}": f"audio_lightning.{package}.{new}"
        for package, classes in _MOVED.items()
        for new in classes.split()
    },
    "audio_lightning.schedulers.Decay": "audio_lightning.classifier.schedulers.Decay",
    "audio_lightning.schedulers.OneCycle": "audio_lightning.classifier.schedulers.OneCycle",
    "audio_lightning.schedulers.Plateau": "audio_lightning.classifier.schedulers.Plateau",
    "audio_lightning.schedulers.WarmupCosine": "audio_lightning.classifier.schedulers.WarmupCosine",
    "audio_lightning.training.loggers.StepLogger": "audio_lightning.loggers.loggers.StepLogger",
    "audio_lightning.training.mlflow.MlflowLogger": "audio_lightning.loggers.mlflow.MlflowLogger",
    "audio_lightning.training.tensorboard.TensorBoardLogger": "audio_lightning.loggers.tensorboard.TensorBoardLogger",
    "audio_lightning.training.wandb.WandbLogger": "audio_lightning.loggers.wandb.WandbLogger",
}
"""Old ``_target_`` -> new one."""


def upgrade(values: Any) -> Any:
    """Replace old names in a saved configuration.

    Args:
        values: plain values of a configuration, or of a part of it; left as they are.

    Returns:
        The same with the names of today.
    """
    if isinstance(values, dict):
        return {
            key: TARGETS.get(value, value) if key == "_target_" and isinstance(value, str) else upgrade(value)
            for key, value in values.items()
        }
    return [upgrade(value) for value in values] if isinstance(values, list) else values
