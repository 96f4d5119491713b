-- A topic whose unaccounted events are not what was published less the rest, or of which more is known than was published.
select
    topic,
    published,
    counted,
    duplicate,
    late,
    dead,
    unaccounted
from {{ ref('accounting') }}
where
    unaccounted <> published - (counted + duplicate + late + dead)
    or unaccounted < 0
