"""Files of a run: workspace, metrics, checkpoints. The only package that reads or writes them.

Importing it loads neither torch nor h5py; its modules load them when a function needs them.
"""
