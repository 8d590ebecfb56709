"""From what recordings are like to what a training of them should be."""
