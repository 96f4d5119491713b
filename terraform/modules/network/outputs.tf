output "vpc_id" {
  description = "The VPC."
  value       = aws_vpc.this.id
}

output "private_subnet_ids" {
  description = "A private subnet in each zone."
  value       = aws_subnet.private[*].id
}

output "public_subnet_ids" {
  description = "A public subnet in each zone."
  value       = aws_subnet.public[*].id
}
