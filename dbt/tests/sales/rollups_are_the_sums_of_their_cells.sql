{#-
    An order has one region: orders add up over regions, and money and units over both. What was paid back and not for
    goods has a region and no category: sums over categories lack it.
-#}
with sums as (
    select
        day,
        sum(units) filter (where level = 'region_and_category') as units,
        sum(net_amount) filter (where level = 'region_and_category') as net_amount,
        sum(units) filter (where level = 'category') as units_of_categories,
        sum(net_amount) filter (where level = 'category') as net_of_categories,
        sum(units) filter (where level = 'region') as units_of_regions,
        sum(net_amount) filter (where level = 'region') as net_of_regions,
        sum(refund_amount) filter (where level = 'region_and_category') as refunds,
        sum(refund_amount) filter (where level = 'region') as refunds_of_regions,
        sum(other_refund_amount) filter (where level = 'region') as other_refunds_of_regions,
        sum(orders) filter (where level = 'region') as orders_of_regions,
        sum(checkouts) filter (where level = 'region') as checkouts_of_regions
    from {{ ref('daily_sales') }}
    group by
        day
)

select totals.day
from {{ ref('daily_sales') }} as totals
inner join sums on totals.day = sums.day
where
    totals.level = 'all'
    and (
        totals.units <> coalesce(sums.units, 0)
        or totals.units <> coalesce(sums.units_of_categories, 0)
        or totals.units <> coalesce(sums.units_of_regions, 0)
        or totals.net_amount + totals.other_refund_amount <> coalesce(sums.net_amount, 0)
        or totals.net_amount + totals.other_refund_amount <> coalesce(sums.net_of_categories, 0)
        or totals.net_amount <> coalesce(sums.net_of_regions, 0)
        or totals.refund_amount - totals.other_refund_amount <> coalesce(sums.refunds, 0)
        or totals.refund_amount <> coalesce(sums.refunds_of_regions, 0)
        or totals.other_refund_amount <> coalesce(sums.other_refunds_of_regions, 0)
        or totals.orders <> coalesce(sums.orders_of_regions, 0)
        or totals.checkouts <> coalesce(sums.checkouts_of_regions, 0)
    )
