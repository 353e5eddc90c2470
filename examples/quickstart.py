"""From a clip to its key-points, and to the same heart with another ejection fraction.

python examples/quickstart.py CLIP FOLDER
"""

import sys

import echokdm


def main(path: str, out: str) -> None:
    """Write FOLDER/keypoints and FOLDER/ef35 for the apical four-chamber clip at `path`."""
    clip = echokdm.read_clip(path)
    print(f"{len(clip)} frames of {clip.size[1]} x {clip.size[0]} at {clip.fps:g} frames/s")

    derived = echokdm.derive_keypoints(clip)
    echokdm.write_keypoints(derived, f"{out}/keypoints")
    print(f"ejection fraction {derived.ejection_fraction:.1f} %")

    result = echokdm.synthesize(clip, echokdm.Wish(ef=35))
    echokdm.write_synthesis(result, f"{out}/ef35")
    for name, value in result.ejection_fractions().items():
        print(f"{name}: {'none' if value is None else f'{value:.1f} %'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
