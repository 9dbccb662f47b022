"""Does a network that hears time and frequency apart understand speech as well as music?

    python -m genre_jax.main --config=experiments/spoken_digits.py --config.dataset.path=FSDD

New takes of known speakers (split.name=takes); with --config.split.name=speaker_kfold
--config.split.fold=0 to 5 speakers who are not known. Other networks:
--config.model.name=baseline or learnt_square.
"""

from experiments import base


def get_config():
  """learnt_split at its own sizes; what is made for speech is the recipe."""
  config = base.get_config()
  config.model.name = "learnt_split"
  config.dataset.source = "spoken_digits"
  config.split.name = "takes"
  config.split.num_folds = 6
  # 8 kHz; 32 ms every 8 ms, so that the 20 frames that one vector sees are 160 ms: a speech sound.
  config.recipe.sample_rate = 8000
  config.recipe.n_fft = 512
  config.recipe.win_length = 256
  config.recipe.hop_length = 64
  config.recipe.frame_stride = 1.0
  config.recipe.n_mels = 64
  config.recipe.fmax = 4000.0
  # What lies further below the loudest sound is the speaker's room and microphone.
  config.recipe.top_db = 60.0
  # 0.77 s: 97 in 100 clips fit, the others lose an end.
  config.recipe.num_frames = 96
  config.segments.train_per_track = 1
  config.segments.eval_per_track = 2
  # Other speakers: speed, length of the vocal tract, room and microphone.
  config.augment.time_stretch = 0.15
  config.augment.mel_shift = 2.0
  config.augment.eq_db = 3.0
  config.train.batch_size = 32
  config.train.epochs = 20
  return config
