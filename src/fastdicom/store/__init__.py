"""Zarr stores: `layout` decides what goes where, `target` what may be there already, `memory` how much is done at once,
`shards` writes one, `writing` all of them and resumes, `reading` opens what was written.

A store is a Zarr v3 group::

    out.zarr/
      zarr.json        attributes: fastdicom (status, geometry, units, ...), ome (OME-Zarr 0.5, where it can say it)
      0/               the voxels: (..., z, y, x[, c]), chunked, sharded
      slices/          per-slice columns, one array each, in the shape of the dimensions before y
"""
