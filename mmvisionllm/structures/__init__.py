"""What an object looks like: masks as boundary points, and back. Knows no nets and no datasets."""

from .boundary import boundary_points, instance_points, points_to_masks, points_to_rles
from .sampling import EVEN_SAMPLINGS, SAMPLINGS

__all__ = ['EVEN_SAMPLINGS', 'SAMPLINGS', 'boundary_points', 'instance_points', 'points_to_masks', 'points_to_rles']
