select
    event_id,
    occurred_at,
    refund_id,
    order_id,
    customer_id,
    region,
    currency,
    {{ money('amount') }} as amount,
    {{ money('shipping_amount') }} as shipping_amount,
    {{ money('tax_amount') }} as tax_amount,
    reason,
    charged_currency,
    {{ charge('charged_amount') }} as charged_amount,
    {{ rate('charged_rate') }} as charged_rate,
    charged_rate_source,
    charged_rate_on,
    source
from order_refunded
