output "file_system_id" {
  description = "The file system."
  value       = aws_efs_file_system.this.id
}

output "file_system_arn" {
  description = "The same."
  value       = aws_efs_file_system.this.arn
}

output "access_point_ids" {
  description = "Where hub and snapshots are in it."
  value       = { for name, point in aws_efs_access_point.this : name => point.id }
}

output "security_group_id" {
  description = "The mount targets'."
  value       = aws_security_group.this.id
}
