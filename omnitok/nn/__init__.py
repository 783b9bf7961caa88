"""The parts of the backbone: every kind is one configuration struct and one module, side by side in one file."""
