# The registry by a name of its own, for who is in the network but not in the task. It says no word but schemas.

locals {
  registry_host = "${aws_service_discovery_service.registry.name}.${aws_service_discovery_private_dns_namespace.this.name}"
}

resource "aws_service_discovery_private_dns_namespace" "this" {
  name        = "${var.name}.internal"
  description = "Names within the network"
  vpc         = var.vpc_id
}

resource "aws_service_discovery_service" "registry" {
  name        = "registry"
  description = "The task that has the registry"

  dns_config {
    namespace_id   = aws_service_discovery_private_dns_namespace.this.id
    routing_policy = "MULTIVALUE"
    dns_records {
      type = "A"
      ttl  = 10
    }
  }

  # ECS says which task is well.
  health_check_custom_config {}
}

resource "aws_vpc_security_group_ingress_rule" "registry" {
  for_each                     = var.registry_clients
  security_group_id            = aws_security_group.this.id
  description                  = "The registry, from ${each.key}"
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = local.ports.registry
  to_port                      = local.ports.registry
}
