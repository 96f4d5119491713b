"""What a Shopify shop is asked, in GraphQL, of the version of its Admin API that is named here.

No name, address or e-mail of a customer is asked for: only the customer's number, and the country that it ships to.
"""

from __future__ import annotations

from typing import Final

VERSION: Final = "2026-10"  # stable since 1 October 2026; Shopify answers a version for at least twelve months
SALES: Final = 20
AGREEMENTS: Final = 4

_SALES: Final = """
fragment SalesOf on SaleConnection {
  nodes {
    id actionType lineType quantity
    totalAmount { shopMoney { amount } }
    totalTaxAmount { shopMoney { amount } }
    totalDiscountAmountBeforeTaxes { shopMoney { amount } }
    ... on ProductSale { lineItem { id sku name vendor } }
  }
  pageInfo { hasNextPage endCursor }
}
"""
_AGREEMENTS: Final = (
    """
fragment AgreementsOf on SalesAgreementConnection {
  edges { cursor node { id happenedAt reason sales(first: $sales) { ...SalesOf } } }
  pageInfo { hasNextPage endCursor }
}
"""
    + _SALES
)
_ORDER: Final = (
    """
fragment OrderOf on Order {
  id processedAt updatedAt cancelledAt test currencyCode taxesIncluded sourceName
  displayFinancialStatus displayFulfillmentStatus
  customer { id }
  shippingAddress { countryCodeV2 }
  fulfillments(first: 20) { createdAt status }
  transactions(first: 20) { kind status gateway processedAt amountSet { shopMoney { amount } } }
  discountApplications(first: 5) {
    nodes {
      targetType
      ... on DiscountCodeApplication { code }
      ... on AutomaticDiscountApplication { title }
      ... on ManualDiscountApplication { title }
    }
    pageInfo { hasNextPage }
  }
  agreements(first: $agreements) { ...AgreementsOf }
}
"""
    + _AGREEMENTS
)
ABOUT: Final = """
query About {
  shop { name currencyCode }
  ordersCount(limit: null) { count }
  currentAppInstallation { accessScopes { handle } }
}
"""
NEWEST: Final = """
query Newest { orders(first: 1, sortKey: UPDATED_AT, reverse: true) { nodes { updatedAt } } }
"""
ORDERS: Final = (
    """
query Orders($first: Int!, $after: String, $query: String!, $sort: OrderSortKeys!, $agreements: Int!, $sales: Int!) {
  orders(first: $first, after: $after, query: $query, sortKey: $sort) {
    nodes { ...OrderOf }
    pageInfo { hasNextPage endCursor }
  }
}
"""
    + _ORDER
)
NAMED: Final = (
    """
query Named($ids: [ID!]!, $agreements: Int!, $sales: Int!) { nodes(ids: $ids) { ...OrderOf } }
"""
    + _ORDER
)
MORE: Final = (
    """
query More($id: ID!, $agreements: Int!, $after: String, $sales: Int!) {
  order(id: $id) { updatedAt agreements(first: $agreements, after: $after) { ...AgreementsOf } }
}
"""
    + _AGREEMENTS
)
MORE_SALES: Final = (
    """
query MoreSales($id: ID!, $agreement: String, $after: String, $sales: Int!) {
  order(id: $id) {
    updatedAt
    agreements(first: 1, after: $agreement) { nodes { id sales(first: $sales, after: $after) { ...SalesOf } } }
  }
}
"""
    + _SALES
)
HOOKS: Final = """
query Hooks { webhookSubscriptions(first: 100) { nodes { id topic uri } } }
"""
HOOK: Final = """
mutation Hook($topic: WebhookSubscriptionTopic!, $uri: String!, $fields: [String!]) {
  webhookSubscriptionCreate(
    topic: $topic, webhookSubscription: {uri: $uri, format: JSON, includeFields: $fields}
  ) { userErrors { message } }
}
"""
