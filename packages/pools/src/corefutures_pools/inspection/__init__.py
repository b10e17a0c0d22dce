"""What a pool is doing: stacks of workers, snapshots of pools."""
