"""Print the folder that PYTHONPATH needs for published prototxts."""

from pathlib import Path

if __name__ == "__main__":
    print(Path(__file__).parent)
