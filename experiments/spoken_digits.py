"""Does a network that hears time and frequency apart understand speech as well as music?

    python -m genre_jax.main --config=experiments/spoken_digits.py --config.dataset.path=FSDD

New takes of known speakers (split.name=takes); with --config.split.name=speaker_kfold
--config.split.fold=0 to 5 speakers who are not known. Other networks:
--config.model.name=baseline or square_cnn.
"""

from genre_jax.experiments import base


def get_config():
  """split_cnn at its own sizes; what is made for speech is the frontend."""
  config = base.get_config()
  config.model.name = "split_cnn"
  config.dataset.source = "spoken_digits"
  config.split.name = "takes"
  config.split.num_folds = 6
  # 8 kHz; 32 ms every 8 ms, so that the 20 frames that one vector sees are 160 ms: a speech sound.
  config.frontend.sample_rate = 8000
  config.frontend.n_fft = 512
  config.frontend.win_length = 256
  config.frontend.hop_length = 64
  config.frontend.frame_stride = 1.0
  config.frontend.n_mels = 64
  config.frontend.fmax = 4000.0
  # What lies further below the loudest sound is the speaker's room and microphone.
  config.frontend.top_db = 60.0
  # 0.77 s: 97 in 100 clips fit, the others lose an end.
  config.frontend.num_frames = 96
  config.segments.train_per_track = 1
  config.segments.eval_per_track = 2
  # Other speakers: speed, length of the vocal tract, room and microphone.
  config.augment.time_stretch = 0.15
  config.augment.mel_shift = 2.0
  config.augment.eq_db = 3.0
  config.train.batch_size = 32
  config.train.epochs = 20
  return config
