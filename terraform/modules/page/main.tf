# The live page for people: a load balancer that lets in whom Cognito knows, over TLS, from networks that are named.

resource "aws_security_group" "this" {
  name        = "${var.name}-page"
  description = "The page's load balancer"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "viewers" {
  for_each          = var.viewers
  security_group_id = aws_security_group.this.id
  description       = "Viewers"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "hub" {
  security_group_id            = aws_security_group.this.id
  description                  = "To the page"
  referenced_security_group_id = var.hub_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = var.page_port
  to_port                      = var.page_port
}

resource "aws_vpc_security_group_egress_rule" "cognito" {
  security_group_id = aws_security_group.this.id
  description       = "To Cognito, which has public addresses"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_lb" "this" {
  #checkov:skip=CKV2_AWS_28:only the networks in `viewers` reach it, and only who has logged in gets beyond it
  name                       = var.name
  load_balancer_type         = "application"
  internal                   = false
  subnets                    = var.subnet_ids
  security_groups            = [aws_security_group.this.id]
  drop_invalid_header_fields = true
  enable_deletion_protection = var.is_protected
  idle_timeout               = 300 # the page's connection is quiet while nothing changes

  access_logs {
    bucket  = aws_s3_bucket.logs.id
    enabled = true
  }

  depends_on = [aws_s3_bucket_policy.logs]
}

resource "aws_lb_target_group" "this" {
  name        = var.name
  target_type = "ip"
  vpc_id      = var.vpc_id
  port        = var.page_port
  protocol    = "HTTP"
  health_check {
    path    = "/_stcore/health"
    matcher = "200"
  }
}

resource "aws_lb_listener" "this" {
  load_balancer_arn = aws_lb.this.arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = var.certificate_arn

  default_action {
    type  = "authenticate-cognito"
    order = 1
    authenticate_cognito {
      user_pool_arn       = aws_cognito_user_pool.this.arn
      user_pool_client_id = aws_cognito_user_pool_client.this.id
      user_pool_domain    = aws_cognito_user_pool_domain.this.domain
    }
  }

  default_action {
    type             = "forward"
    order            = 2
    target_group_arn = aws_lb_target_group.this.arn
  }
}

resource "aws_cognito_user_pool" "this" {
  name                = var.name
  deletion_protection = var.is_protected ? "ACTIVE" : "INACTIVE"
  mfa_configuration   = "ON"
  software_token_mfa_configuration {
    enabled = true
  }
  admin_create_user_config {
    allow_admin_create_user_only = true
  }
  password_policy {
    minimum_length    = 14
    require_lowercase = true
    require_uppercase = true
    require_numbers   = true
    require_symbols   = false
  }
}

resource "aws_cognito_user_pool_domain" "this" {
  domain       = var.login_domain
  user_pool_id = aws_cognito_user_pool.this.id
}

resource "aws_cognito_user_pool_client" "this" {
  name                                 = "page"
  user_pool_id                         = aws_cognito_user_pool.this.id
  generate_secret                      = true
  allowed_oauth_flows_user_pool_client = true
  allowed_oauth_flows                  = ["code"]
  allowed_oauth_scopes                 = ["openid"]
  callback_urls                        = ["https://${var.domain}/oauth2/idpresponse"]
  supported_identity_providers         = ["COGNITO"]
}
