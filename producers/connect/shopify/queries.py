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
    totalAmount { shopMoney { amount } presentmentMoney { amount currencyCode } }
    totalTaxAmount { shopMoney { amount } presentmentMoney { amount currencyCode } }
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
  transactions(first: 20) {
    kind status gateway processedAt
    amountSet { shopMoney { amount } }
    fees { id amount { amount currencyCode } }
  }
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
  shop { name currencyCode ianaTimezone }
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
UNHOOK: Final = """
mutation Unhook($id: ID!) {
  webhookSubscriptionDelete(id: $id) { userErrors { message } }
}
"""
RIGHTS: Final = """
query Rights { shop { currencyCode } currentAppInstallation { accessScopes { handle } } }
"""
VARIANTS: Final = 10
LEVELS: Final = 3
_LEVELS: Final = """
fragment LevelsOf on InventoryLevelConnection {
  nodes { location { id name } quantities(names: ["available"]) { quantity } }
  pageInfo { hasNextPage endCursor }
}
"""
_VARIANTS: Final = (
    """
fragment VariantsOf on ProductVariantConnection {
  nodes {
    id title sku price compareAtPrice availableForSale
    inventoryItem @include(if: $stock) {
      id tracked unitCost { amount }
      inventoryLevels(first: $levels) { ...LevelsOf }
    }
  }
  pageInfo { hasNextPage endCursor }
}
"""
    + _LEVELS
)
_PRODUCT: Final = (
    """
fragment ProductOf on Product {
  id title vendor productType status updatedAt handle onlineStoreUrl
  description(truncateAt: 500)
  category { fullName }
  featuredMedia { preview { image { url } } }
  variants(first: $variants) { ...VariantsOf }
}
"""
    + _VARIANTS
)
PRODUCTS: Final = (
    """
query Products(
  $first: Int!, $after: String, $query: String!, $variants: Int!, $levels: Int!, $stock: Boolean!
) {
  products(first: $first, after: $after, query: $query, sortKey: UPDATED_AT) {
    nodes { ...ProductOf }
    pageInfo { hasNextPage endCursor }
  }
}
"""
    + _PRODUCT
)
NAMED_PRODUCTS: Final = (
    """
query NamedProducts($ids: [ID!]!, $variants: Int!, $levels: Int!, $stock: Boolean!) {
  nodes(ids: $ids) { ...ProductOf }
}
"""
    + _PRODUCT
)
PRODUCTS_OF_ITEMS: Final = """
query ProductsOfItems($ids: [ID!]!) {
  nodes(ids: $ids) { ... on InventoryItem { variants(first: 5) { nodes { product { id } } } } }
}
"""
MORE_VARIANTS: Final = (
    """
query MoreVariants($id: ID!, $after: String, $variants: Int!, $levels: Int!, $stock: Boolean!) {
  product(id: $id) { variants(first: $variants, after: $after) { ...VariantsOf } }
}
"""
    + _VARIANTS
)
MORE_LEVELS: Final = (
    """
query MoreLevels($id: ID!, $after: String, $levels: Int!) {
  inventoryItem(id: $id) { inventoryLevels(first: $levels, after: $after) { ...LevelsOf } }
}
"""
    + _LEVELS
)
_CUSTOMER: Final = """
fragment CustomerOf on Customer { id createdAt updatedAt defaultAddress { countryCodeV2 } }
"""
CUSTOMERS: Final = (
    """
query Customers($first: Int!, $after: String, $query: String!) {
  customers(first: $first, after: $after, query: $query, sortKey: UPDATED_AT) {
    nodes { ...CustomerOf }
    pageInfo { hasNextPage endCursor }
  }
}
"""
    + _CUSTOMER
)
NAMED_CUSTOMERS: Final = (
    """
query NamedCustomers($ids: [ID!]!) { nodes(ids: $ids) { ...CustomerOf } }
"""
    + _CUSTOMER
)
